package compose

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/compose-spec/compose-go/v2/dotenv"
)

// rawFormat is the format of an env_file whose values are taken as they stand, as `docker run --env-file` does it.
const rawFormat = "raw"

// registerRaw gives compose-go the format raw, which it leaves to its callers, as Docker Compose does. It keeps formats in
// a variable of its own.
var registerRaw = sync.OnceFunc(func() { dotenv.RegisterFormat(rawFormat, parseRaw) }) //nolint:gochecknoglobals // guards compose-go's

// parseRaw reads lines of NAME=VALUE into vars; a value is all that follows, with quotes, dollar signs and blanks. A name
// alone is looked up. Its errors have the words of compose-go's own parser, and nothing of a value.
func parseRaw(r io.Reader, _ string, vars map[string]string, lookup func(string) (string, bool)) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, largestFile)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimLeft(strings.TrimPrefix(lines.Text(), "\uFEFF"), " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, given := strings.Cut(line, "=")
		if i := strings.IndexAny(name+"=", " \t="); i == 0 || i < len(name) {
			return fmt.Errorf("line %d: unexpected character %q in variable name", number, line[i:i+1])
		}
		if given {
			vars[name] = value
		} else if value, ok := lookup(name); ok {
			vars[name] = value
		}
	}
	return lines.Err()
}
