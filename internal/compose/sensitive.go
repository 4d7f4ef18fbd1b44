package compose

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

var sensitiveName = regexp.MustCompile(`(?i)(^|[_.-])(` +
	`pass|passwd|password|passphrase|pwd|secret|secrets|token|key|keys|apikey|credential|credentials|creds|dsn|auth|` +
	`private|cert_key|salt|pepper|signature|jwt|bearer)([_.-]|$|\d)`)

var sensitivePart = regexp.MustCompile(`(?i)(password|passwd|passphrase|secret|token|api_?key|access_?key|private_?key|credential)`)

// notSensitive are names that have a sensitive word and hold none: a path to a file, a name of a key, the shell's own folder.
var notSensitive = regexp.MustCompile(`(?i)_(file|path|dir|name|header|url_path|ttl|expiry|expires_in|length|algorithm|type)$|^(OLD)?PWD$`)

// Sensitive is the function of that name, for a variable of this service or job: x-perch.secrets may name it.
func (x ServiceExtension) Sensitive(name, value string) bool {
	return slices.Contains(x.Secrets, name) || Sensitive(name, value)
}

// Sensitive tells whether a variable belongs in a Secret: by its name, or because its value holds a password, a token or a
// private key. It errs to the side of the Secret; x-perch.secrets adds names.
func Sensitive(name, value string) bool {
	if holdsPassword(value) {
		return true
	}
	if notSensitive.MatchString(name) {
		return false
	}
	return sensitiveName.MatchString(name) || sensitivePart.MatchString(name)
}

// The forms in which values hold what is not for all to read.
var (
	// scheme://user:password@host, and jdbc: or other prefixes before it; what stands before the @ is looked at in code.
	urlAuthority = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://([^\s"'<>]*)@`)

	// user:password@host and user:password@tcp(host), without a scheme.
	bareAuthority = regexp.MustCompile(`(?:^|[\s"'=,])[^\s/:@"'=,]+:[^\s"',]+@[A-Za-z0-9/\[(]`)

	imageDigest = regexp.MustCompile(`@sha(256|512):`)

	// password=… in a URL's query, in a list of settings, and in "password": "…".
	passwordSetting = regexp.MustCompile(`(?i)(^|[\s;,?&"'{])[\w.-]*(password|passwd|pwd|passphrase|secret|secret_?key|client_?secret|access_?token|auth_?token|` +
		`api_?key|private_?key|account_?key|shared_?access_?key|sig|sslpassword)["']?\s*[=:]\s*["']?[^\s;,"'$<{\[]`)

	privateKey = regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----.*?(-----END|$)`)

	// authorization is a header with its value.
	authorization = regexp.MustCompile(`(?i)\b(basic\s+[A-Za-z0-9+/]{6,}={0,2}|bearer\s+[A-Za-z0-9._~+/=-]{8,})(\W|$)`)

	// passwordHash is a password as crypt, bcrypt, Apache and argon2 keep it.
	passwordHash = regexp.MustCompile(`\$(1|2[abxy]?|5|6|7|y|apr1|argon2(id|i|d)|pbkdf2-sha\d+|scrypt)\$[^\s$]+`)

	// knownToken are the forms of well-known services: AWS, GitHub, GitLab, Slack, Stripe, OpenAI, Google, npm, SendGrid, Hugging
	// Face, DigitalOcean, and JSON Web Tokens.
	knownToken = regexp.MustCompile(`\b(A(KIA|SIA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abeoprs]-[\w-]{8,}|` +
		`xapp-[\w-]{8,}|[srp]k_(live|test)_\w{8,}|sk-[\w-]{16,}|AIza[\w-]{30,}|ya29\.[\w-]{10,}|npm_[A-Za-z0-9]{20,}|SG\.[\w-]{10,}\.[\w-]{10,}|` +
		`hf_[A-Za-z0-9]{20,}|dop_v1_[a-f0-9]{20,}|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*)|hooks\.slack\.com/services/\w+`)

	// longUser is a token in place of a user: https://TOKEN@host.
	longUser = regexp.MustCompile(`^[A-Za-z0-9_-]{20,}$`)
)

// holdsPassword finds a password, a token or a private key in a value.
func holdsPassword(value string) bool { return len(formsIn(value)) > 0 }

// authorityHoldsPassword looks at what stands between :// and the last @ of a URL. A password may have any character in it,
// since people write them as they are: only host:80/path@ is none.
func authorityHoldsPassword(authority string) bool {
	user, password, colon := strings.Cut(authority, ":")
	if strings.Contains(user, "/") {
		return false // the @ is in a path
	}
	if !colon {
		return longUser.MatchString(user)
	}
	port, _, slash := strings.Cut(password, "/")
	if _, err := strconv.Atoi(port); err == nil && slash {
		return false
	}
	return password != "" && !strings.HasPrefix(password, "${") && !imageDigest.MatchString("@"+password)
}

// passwordFlag is a password as an argument: --requirepass x, --password=x, -psecret of MySQL's programs. One that begins with
// a dollar sign is a variable of the container.
var passwordFlag = regexp.MustCompile(`(?i)(^|\s)--?[\w-]*(requirepass|masterauth|password|passwd|passphrase|token|secret|secret-?key|api-?key|access-?key)(=|\s+)["']?[^\s"'$<{-]|` +
	`\b(mysql|mysqladmin|mysqldump|mariadb|mariadb-admin|mariadb-dump)\b[^|;&]*\s-p["']?[^\s"'$<{]|` +
	`\bPGPASSWORD=["']?[^\s"'$<{]|\bcurl\b[^|;&]*\s(-u|--user)\s*["']?[^\s:"'$]+:["']?[^\s"'$]`)

// notAPassword are arguments that only look like one.
var notAPassword = regexp.MustCompile(`(?i)--?[\w-]*(password|token|secret|key)-?(file|path|env|length|ttl)\b`)

// readableByAll warns of passwords in places that are not kept secret: whoever may read a pod, or has an image, sees them.
func (r *reading) readableByAll() {
	command := func(words []string, steps ...string) {
		text := strings.Join(words, " ")
		if holdsPassword(text) || r.holdsSecret(text) || passwordFlag.MatchString(notAPassword.ReplaceAllString(text, "")) {
			r.warn(r.at(steps...), subject(steps[:2])+pathString(steps[2:])+" looks as if it holds a password or key, and whoever may read pods sees it",
				"give it in environment: or secrets:, and let the command read it from there")
		}
	}
	metadata := func(values map[string]string, steps ...string) {
		for _, name := range sortedNames(values) {
			if holdsPassword(values[name]) || r.holdsSecret(values[name]) {
				at := append(slices.Clone(steps), name)
				r.warn(r.at(at...), subject(steps)+name+" looks as if it holds a password or key, and whoever may read pods sees it", "keep it in secrets: or environment:")
			}
		}
	}
	container := func(c types.ContainerSpec, steps ...string) {
		in := func(more ...string) []string { return append(slices.Clone(steps), more...) }
		command(c.Command, in("command")...)
		command(c.Entrypoint, in("entrypoint")...)
		metadata(c.Labels, in("labels")...)
		metadata(c.Annotations, in("annotations")...)
	}
	for _, name := range sortedNames(r.project.Project.Services) {
		s := r.project.Project.Services[name]
		container(s.ContainerSpec, "services", name)
		if s.HealthCheck != nil {
			command(s.HealthCheck.Test, "services", name, "healthcheck", "test")
		}
		for i, hook := range s.PreStart {
			own := hook.ContainerSpec
			own.Labels, own.Annotations = nil, nil // those of the service, or as readable as they are
			if !slices.Equal(own.Command, s.Command) {
				command(own.Command, "services", name, "pre_start", strconv.Itoa(i), "command")
			}
		}
		for kind, hooks := range map[string][]types.ServiceHook{"post_start": s.PostStart, "pre_stop": s.PreStop} {
			for i, hook := range hooks {
				command(hook.Command, "services", name, kind, strconv.Itoa(i), "command")
			}
		}
		r.readableBuild(s.Build, "services", name)
	}
	for _, name := range sortedNames(r.project.Jobs) {
		container(r.project.Jobs[name].ContainerSpec, "jobs", name)
		r.readableBuild(r.project.Jobs[name].Build, "jobs", name)
	}
	for _, name := range sortedNames(r.project.ConfigData) {
		if data := string(r.project.ConfigData[name]); holdsPassword(data) || r.holdsSecret(data) {
			r.warn(r.at("configs", name), subject([]string{"configs", name})+"it looks as if it holds a password or key, and whoever may read ConfigMaps sees it",
				"define it under secrets: and mount it at the same target")
		}
	}
}

func (r *reading) readableBuild(b *types.BuildConfig, steps ...string) {
	if b == nil {
		return
	}
	for _, name := range sortedNames(b.Args) {
		if value := b.Args[name]; value != nil && *value != "" && (Sensitive(name, *value) || r.holdsSecret(*value)) {
			at := append(slices.Clone(steps), "build", "args", name)
			r.warn(r.at(at...), subject(at[:len(at)-1])+name+" looks as if it holds a password or key, and whoever has the image sees it",
				"give it in build.secrets, and read it with RUN --mount=type=secret")
		}
	}
}

// redact takes values that are secret out of all that was found. Messages show what stands in the file; a value that came
// into it by a variable, or that a library put into its error, is not for all to read.
func (r *reading) redact() {
	hidden := r.hidden()
	if len(hidden) == 0 {
		return
	}
	replacer := strings.NewReplacer(hidden...)
	for _, list := range []Problems{r.problems, r.warnings} {
		for i := range list {
			list[i].Message, list[i].Hint = replacer.Replace(list[i].Message), replacer.Replace(list[i].Hint)
		}
	}
}

// plainWord is a value that is as well a word of a message, a name or a port: "postgres", "password", "5432". Who has such a
// password has none, and the message would say nothing any more.
var plainWord = regexp.MustCompile(`^([a-z]*|[0-9]{1,7})$`)

// hidden are the secret values and what to show in their place, the longest first.
func (r *reading) hidden() []string {
	values := map[string]string{}
	add := func(value, shown string) {
		for line := range strings.Lines(value) {
			if line = strings.TrimSpace(line); len(line) >= 6 && !plainWord.MatchString(line) {
				values[line] = shown
			}
		}
	}
	for name, value := range r.env {
		if Sensitive(name, value) {
			add(value, "${"+name+"}")
		}
	}
	for _, name := range sortedNames(r.secret) {
		for _, text := range secretLines(r.secret[name]) {
			if len(text) >= shortestSecretText && !r.named(text) {
				values[text] = "${" + name + "}"
			}
		}
	}
	if r.project != nil {
		r.project.eachVariable(func(name, value string, sensitive bool) {
			if sensitive {
				add(value, "${"+name+"}")
			}
		})
		for name, data := range r.project.SecretData {
			add(string(data), "the secret "+name)
		}
	}
	order := sortedNames(values)
	slices.SortStableFunc(order, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, value := range order {
		pairs = append(pairs, value, values[value])
	}
	return pairs
}

// eachVariable goes over the variables of all services, their pre_start hooks and jobs, and tells which are sensitive.
func (p *Project) eachVariable(visit func(name, value string, sensitive bool)) {
	each := func(environment types.MappingWithEquals, x ServiceExtension) {
		for _, name := range sortedNames(environment) {
			if value := environment[name]; value != nil {
				visit(name, *value, x.Sensitive(name, *value))
			}
		}
	}
	for _, name := range sortedNames(p.Project.Services) {
		s := p.Project.Services[name]
		each(s.Environment, p.Services[name])
		for _, hook := range s.PreStart {
			each(hook.Environment, p.Services[name])
		}
	}
	for _, name := range sortedNames(p.Project.Jobs) {
		each(p.Project.Jobs[name].Environment, p.JobExtensions[name])
	}
	p.eachElsewhere(visit)
}
