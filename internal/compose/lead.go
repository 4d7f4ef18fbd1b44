package compose

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// client is one container whose variables may be a connection to a service that is provided.
type client struct {
	path      []string
	env       types.MappingWithEquals
	secrets   []types.ServiceSecretConfig
	extension func(name string, key SecretKey) // notes that a variable has its value from a Secret
}

// clients are all containers of the project but those of one service. Their variables are copies that are the project's.
func (r *reading) clients(but string) []client {
	p := r.project
	var all []client
	for _, name := range sortedNames(p.Project.Services) {
		if name == but || p.Elsewhere(name) {
			continue
		}
		s := p.Project.Services[name]
		note := func(variable string, key SecretKey) {
			x := p.Services[name]
			x.SecretKeys = withKey(x.SecretKeys, variable, key)
			p.Services[name] = x
		}
		s.Environment = maps.Clone(s.Environment)
		all = append(all, client{[]string{"services", name}, s.Environment, s.Secrets, note})
		s.PreStart = slices.Clone(s.PreStart)
		for i := range s.PreStart {
			s.PreStart[i].Environment = maps.Clone(s.PreStart[i].Environment)
			all = append(all, client{[]string{"services", name}, s.PreStart[i].Environment, s.PreStart[i].Secrets, note})
		}
		p.Project.Services[name] = s
	}
	for _, name := range sortedNames(p.Jobs) {
		j := p.Jobs[name]
		j.Environment = maps.Clone(j.Environment)
		p.Jobs[name] = j
		all = append(all, client{[]string{"jobs", name}, j.Environment, j.Secrets, func(variable string, key SecretKey) {
			x := p.JobExtensions[name]
			x.SecretKeys = withKey(x.SecretKeys, variable, key)
			p.JobExtensions[name] = x
		}})
	}
	return all
}

func withKey(keys map[string]SecretKey, variable string, key SecretKey) map[string]SecretKey {
	keys = maps.Clone(keys)
	if keys == nil {
		keys = map[string]SecretKey{}
	}
	keys[variable] = key
	return keys
}

// lead gives the variables of all others that are a connection to the service the values of where it is provided: the same
// names, in the same form. Those that a Secret of the cluster has keep their name and lose their value here.
func (r *reading) lead(name string, provided Provided, c connection, at []string) {
	hosts := []string{name}
	for _, a := range declaredAliases(r.project.Project, name) {
		hosts = append(hosts, a.name)
	}
	met, led := map[string]bool{}, false
	for _, u := range r.clients(name) {
		found := uses(u.env, hosts)
		r.unknownForms(u, found, hosts, name)
		for _, variable := range sortedNames(u.env) {
			met[variable] = true
			as := found[variable]
			if key := provided.key(variable, as); key != "" {
				u.env[variable] = nil
				u.extension(variable, SecretKey{provided.Secret, key})
				led = true
				continue
			}
			if as == 0 || u.env[variable] == nil {
				continue
			}
			u.env[variable] = new(rewritten(*u.env[variable], as, hosts, c))
			led = true
		}
		r.passwordFiles(u, found, c)
		r.addTLS(u, found, c)
	}
	for _, variable := range sortedNames(provided.Keys) {
		if !met[variable] {
			keys := append(slices.Clone(at), "keys", variable)
			r.problem(r.at(keys...), fmt.Sprintf("%s%q is no variable of any service or job", subject(at), variable), didYouMean(variable, sortedNames(met)))
		}
	}
	if !led && len(provided.Keys) == 0 {
		r.warn(r.at(at...), fmt.Sprintf("%sno variable of another service is a connection to %q that is known, so none was rewritten", subject(at), name),
			"known are URLs with that host, settings as host=…, and names as DB_HOST with DB_USER and DB_PASSWORD")
	}
}

// key is the key of the Secret that a variable has its value from, "" when it has it from elsewhere.
func (p Provided) key(variable string, as role) string {
	switch {
	case p.Secret == "":
		return ""
	case len(p.Keys) > 0:
		return p.Keys[variable]
	case as.secret(), as != 0 && p.Host == "":
		return variable
	}
	return ""
}

// unknownForms warns of variables that name the service in a form that is not rewritten.
func (r *reading) unknownForms(u client, found map[string]role, hosts []string, name string) {
	for _, variable := range sortedNames(u.env) {
		if value := u.env[variable]; value != nil && found[variable] == 0 && namedHost(hosts).MatchString(*value) {
			at := append(slices.Clone(u.path), "environment", variable)
			r.warn(r.at(at...), fmt.Sprintf("%s%s names service %q, which is provided, in a form that is not known: it stays as it is", subject(u.path), variable, name),
				"give the variable a value of its own, as in an override of the target")
		}
	}
}

// passwordFiles puts the password into the secrets that variables as DB_PASSWORD_FILE name.
func (r *reading) passwordFiles(u client, found map[string]role, c connection) {
	if c.password == "" {
		return
	}
	for variable, as := range found {
		if as != roleHost && as != roleURL {
			continue
		}
		families := map[string]bool{}
		family(families, variable, endings()[as])
		for prefix := range families {
			for _, end := range endings()[rolePassword] {
				file := u.env[prefix+end+"_FILE"]
				if file == nil {
					continue
				}
				for _, secret := range u.secrets {
					if secretPath(secret) == *file {
						r.project.SecretData[secret.Source] = []byte(c.password)
					}
				}
			}
		}
	}
}

// secretPath is where a secret is mounted.
func secretPath(s types.ServiceSecretConfig) string {
	target := cmpOr(s.Target, s.Source)
	if path.IsAbs(target) {
		return path.Clean(target)
	}
	return path.Join("/run/secrets", target)
}

// libpq are the variables that libpq reads by itself.
var libpq = regexp.MustCompile(`^PGHOST(ADDR)?$`)

// addTLS says to libpq how it is to encrypt, where nothing does. Other clients have no name for it that is known.
func (r *reading) addTLS(u client, found map[string]role, c connection) {
	mode := c.setting("sslmode")
	if mode == "" {
		return
	}
	for _, variable := range sortedNames(found) {
		if found[variable] != roleHost {
			continue
		}
		families := map[string]bool{}
		family(families, variable, endings()[roleHost])
		for prefix := range families {
			said := slices.ContainsFunc(endings()[roleTLS], func(end string) bool { _, there := u.env[prefix+end]; return there })
			switch {
			case said:
			case libpq.MatchString(variable):
				u.env["PGSSLMODE"] = new(mode)
			default:
				at := append(slices.Clone(u.path), "environment", variable)
				r.warn(r.at(at...), fmt.Sprintf("%sthe URL says sslmode=%s, and beside %s there is no variable to say that with", subject(u.path), mode, variable),
					"add one to the file that the app reads, as "+strings.TrimSuffix(prefix, "_")+"_SSLMODE")
			}
		}
	}
}
