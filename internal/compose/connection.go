package compose

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// connection is how a service is reached, in parts; "" for what is not known.
type connection struct {
	host, port               string
	user, password, database string
	settings                 []string // of a URL's query, as written: "sslmode=require"
}

func connectionOf(u *url.URL) connection {
	c := connection{host: strings.ToLower(u.Hostname()), port: u.Port(), user: u.User.Username(), database: strings.Trim(u.Path, "/")}
	c.password, _ = u.User.Password()
	if u.RawQuery != "" {
		c.settings = strings.Split(u.RawQuery, "&")
	}
	return c
}

// setting is one of the settings, "" when it is not there.
func (c connection) setting(name string) string {
	for _, one := range c.settings {
		if key, value, _ := strings.Cut(one, "="); key == name {
			if plain, err := url.QueryUnescape(value); err == nil {
				return plain
			}
		}
	}
	return ""
}

func (c connection) number() int32 {
	n, err := strconv.ParseUint(c.port, 10, 16)
	if err != nil {
		return 0
	}
	return int32(n)
}

// role is what a variable says of a connection.
type role int

const (
	roleURL      role = iota + 1 // a URL, or several of them in a text
	roleSettings                 // "host=db port=5432 user=app", also with semicolons
	roleHost
	rolePort
	roleUser
	rolePassword
	roleDatabase
	roleTLS // libpq's sslmode
)

// secret tells whether the role is one that a Secret holds the value of, also where the host is known.
func (r role) secret() bool {
	return r == roleURL || r == roleSettings || r == roleUser || r == rolePassword || r == roleDatabase
}

// The ends of names of variables that say one thing about a connection, by that thing. What stands before the end is what they
// have in common: DB_HOST, DB_USER; PGHOST, PGUSER.
func endings() map[role][]string {
	return map[role][]string{
		roleURL:      {"JDBC_URL", "URL", "URI", "DSN"},
		roleHost:     {"HOSTNAME", "HOSTADDR", "HOST", "SERVER", "ADDRESS", "ADDR"},
		rolePort:     {"PORT"},
		roleUser:     {"USERNAME", "USER"},
		rolePassword: {"PASSWORD", "PASSWD", "PASS", "PWD"},
		roleDatabase: {"DATABASE_NAME", "DATABASE", "DBNAME", "NAME", "DB"},
		roleTLS:      {"SSLMODE", "SSL_MODE"},
	}
}

// uses finds the variables that are a connection to the host with one of the names, with their roles. Those that say only a
// part of it (DB_PASSWORD) are found beside one that names the host (DB_HOST) or is a URL without a user (DB_URL). It is pure.
func uses(env types.MappingWithEquals, hosts []string) map[string]role {
	found := map[string]role{}
	at, setting := hostInURL(hosts), hostSetting(hosts)
	alone := regexp.MustCompile(`^(` + anyOf(hosts) + `)(:\d+)?$`)
	families := map[string]bool{}
	for _, name := range sortedNames(env) {
		value := env[name]
		if value == nil {
			continue
		}
		switch m := at.FindStringSubmatch(*value); {
		case m != nil:
			found[name] = roleURL
			if m[2] == "" {
				family(families, name, endings()[roleURL])
			}
		case setting.MatchString(*value):
			found[name] = roleSettings
		case alone.MatchString(*value) && family(families, name, endings()[roleHost]):
			found[name] = roleHost
		}
	}
	for prefix := range families {
		for role, ends := range endings() {
			for _, end := range ends {
				name := prefix + end
				if _, there := env[name]; there && found[name] == 0 && role != roleURL && role != roleHost {
					found[name] = role
				}
			}
		}
	}
	return found
}

// family adds what stands before the end of a name, and tells whether it has one of the ends. Where nothing stands before it
// (HOST), what else has no such beginning (PORT) may be of the container itself.
func family(families map[string]bool, name string, ends []string) bool {
	for _, end := range ends {
		if prefix, ok := strings.CutSuffix(name, end); ok {
			if prefix != "" {
				families[prefix] = true
			}
			return true
		}
	}
	return false
}

// hostInURL finds a URL with one of the hosts: 1 the scheme, 2 user and password, 3 the host, 4 the port, 5 the path, 6 the
// query. A password may have any character in it, since people write them as they are.
func hostInURL(hosts []string) *regexp.Regexp {
	return regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)([^\s"'<>]*@)?(` + anyOf(hosts) + `)(:\d+)?(/[^\s"'<>?#]*)?(\?[^\s"'<>#]*)?($|[\s"'<>#])`)
}

// hostSetting finds a host in a list of settings, as libpq and .NET write it.
func hostSetting(hosts []string) *regexp.Regexp {
	return regexp.MustCompile(`(?i)(^|[\s;])(host|server|data source)\s*=\s*(` + anyOf(hosts) + `)($|[\s;,:])`)
}

// namedHost finds a host with a port behind it in a text of any other form.
func namedHost(hosts []string) *regexp.Regexp {
	return regexp.MustCompile(`(^|[@/(,=\s])(` + anyOf(hosts) + `):\d+`)
}

func anyOf(hosts []string) string {
	quoted := make([]string, len(hosts))
	for i, host := range hosts {
		quoted[i] = regexp.QuoteMeta(host)
	}
	return strings.Join(quoted, "|")
}

// rewritten is the value of a variable with the connection in it, in the form that it had. It is pure.
func rewritten(value string, as role, hosts []string, c connection) string {
	or := func(now string) string {
		if now == "" {
			return value
		}
		return now
	}
	switch as {
	case roleURL:
		form := hostInURL(hosts)
		return form.ReplaceAllStringFunc(value, func(text string) string { return rewrittenURL(form.FindStringSubmatch(text), c) })
	case roleSettings:
		return rewrittenSettings(value, c)
	case roleHost:
		host, port, both := strings.Cut(value, ":")
		if c.host != "" {
			host = c.host
		}
		if both && c.port != "" {
			port = c.port
		}
		if both {
			return host + ":" + port
		}
		return host
	case rolePort:
		return or(c.port)
	case roleUser:
		return or(c.user)
	case rolePassword:
		return or(c.password)
	case roleDatabase:
		return or(c.database)
	}
	return or(c.setting("sslmode"))
}

// rewrittenURL puts a connection into the parts that hostInURL found. A URL that had no user gets none.
func rewrittenURL(m []string, c connection) string {
	scheme, user, host, port, path, query, end := m[1], m[2], m[3], m[4], m[5], m[6], m[7]
	if user != "" && c.user+c.password != "" {
		user = url.User(c.user).String() + "@"
		if c.password != "" {
			user = url.UserPassword(c.user, c.password).String() + "@"
		}
	}
	if c.host != "" {
		host = c.host
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
	}
	if c.port != "" {
		port = ":" + c.port
	}
	if c.database != "" {
		path = "/" + url.PathEscape(c.database)
	}
	if query != "" || len(c.settings) > 0 {
		query = "?" + mergedSettings(strings.TrimPrefix(query, "?"), c)
	}
	return scheme + user + host + port + path + query + end
}

// mergedSettings are the settings of a query with those of the connection over them. JDBC has user and password there.
func mergedSettings(query string, c connection) string {
	key := func(setting string) string { name, _, _ := strings.Cut(setting, "="); return name }
	now := map[string]string{"user": c.user, "username": c.user, "password": c.password}
	var all []string
	for _, one := range strings.Split(query, "&") {
		if value := now[key(one)]; value != "" {
			one = key(one) + "=" + url.QueryEscape(value)
		}
		if one != "" && !slices.ContainsFunc(c.settings, func(other string) bool { return key(other) == key(one) }) {
			all = append(all, one)
		}
	}
	return strings.Join(append(all, c.settings...), "&")
}

// oneSetting is name = value in a list of settings; a value may be in quotes.
var oneSetting = regexp.MustCompile(`([A-Za-z][A-Za-z _]*?)(\s*=\s*)('(?:[^'\\]|\\.)*'|"[^"]*"|[^\s;]*)`)

// rewrittenSettings puts a connection into a list of settings, those of it that are there.
func rewrittenSettings(text string, c connection) string {
	now := map[string]string{
		"host": c.host, "server": c.host, "data source": c.host, "port": c.port, "user": c.user, "username": c.user, "user id": c.user, "uid": c.user,
		"password": c.password, "pwd": c.password, "dbname": c.database, "database": c.database, "initial catalog": c.database,
		"sslmode": c.setting("sslmode"), "ssl mode": c.setting("sslmode"),
	}
	return oneSetting.ReplaceAllStringFunc(text, func(one string) string {
		m := oneSetting.FindStringSubmatch(one)
		value := now[strings.ToLower(strings.TrimSpace(m[1]))]
		if value == "" {
			return one
		}
		if strings.ContainsAny(value, " ;'\"\\") {
			value = "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
		}
		return m[1] + m[2] + value
	})
}
