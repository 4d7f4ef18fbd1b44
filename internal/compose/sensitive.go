package compose

import (
	"net/url"
	"regexp"
	"strings"
)

var sensitiveName = regexp.MustCompile(`(?i)(^|_)(` +
	`pass|passwd|password|passphrase|pwd|secret|secrets|token|key|keys|apikey|credential|credentials|creds|dsn|auth|` +
	`private|cert_key|salt|signature)(_|$|\d)`)

var sensitivePart = regexp.MustCompile(`(?i)(password|passwd|secret|token|apikey|accesskey|privatekey|credential)`)

// notSensitive are names that end in a sensitive word and hold none: a path to a file, a name of a key.
var notSensitive = regexp.MustCompile(`(?i)_(file|path|dir|name|header|url_path|ttl|expiry|expires_in|length|algorithm|type)$`)

// Sensitive tells whether a variable belongs in a Secret: by its name, or because its value is a URL with a password.
// It errs to the side of the Secret; x-perch.secrets adds names.
func Sensitive(name, value string) bool {
	if holdsPassword(value) {
		return true
	}
	if notSensitive.MatchString(name) {
		return false
	}
	return sensitiveName.MatchString(name) || sensitivePart.MatchString(name)
}

// holdsPassword finds a password in a URL (postgres://user:pw@host/db) or in a list of settings (host=db password=pw).
func holdsPassword(value string) bool {
	if strings.Contains(value, "://") {
		u, err := url.Parse(value)
		if err != nil {
			// Too odd to parse, as with a raw % in the password: whoever writes user:something@host means one.
			_, rest, _ := strings.Cut(value, "://")
			authority, _, at := strings.Cut(rest, "@")
			return at && strings.Contains(authority, ":")
		}
		if u.User != nil {
			if password, ok := u.User.Password(); ok && password != "" {
				return true
			}
		}
		if u.Query().Get("password") != "" {
			return true
		}
	}
	return passwordSetting.MatchString(value)
}

var passwordSetting = regexp.MustCompile(`(?i)(^|[\s;,])(password|pwd)\s*=\s*[^\s;,]`)
