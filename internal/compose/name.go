package compose

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// longestName is how long a DNS label may be (RFC 1123), and so a Service, a Namespace and most names we make.
const longestName = 63

// Name is the Kubernetes name of a Compose name: lower case, hyphens for everything that a DNS label cannot hold, and at
// most 63 characters. The same name gives the same result; two names may give one, which Load reports.
func Name(name string) string { return NameWithin(name, longestName) }

// NameWithin is Name with room for at most limit characters (limit is at least 16). What is cut off is replaced by a
// hash of the whole.
func NameWithin(name string, limit int) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, name)
	clean = strings.Trim(clean, "-")
	if clean == "" {
		clean = "x" + shortHash(name)
	}
	// A Service's name must not begin with a digit (RFC 1035).
	if clean[0] >= '0' && clean[0] <= '9' {
		clean = "x" + clean
	}
	if len(clean) > limit {
		hash := shortHash(name)
		clean = strings.TrimRight(clean[:limit-len(hash)-1], "-") + "-" + hash
	}
	return clean
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])[:8]
}

// longestRelease is how long Helm lets the name of a release be.
const longestRelease = 53

// Release is the name of the Helm release of a service.
func (p *Project) Release(service string) string {
	return NameWithin(p.Namespace+"-"+Name(service), longestRelease)
}
