package sandbox

import (
	"fmt"
	"strings"
)

// HasCapability tells from the text of /proc/self/status whether a capability, as unix.CAP_SYS_ADMIN, is effective.
func HasCapability(status string, bit uint) bool {
	for line := range strings.Lines(status) {
		if value, found := strings.CutPrefix(line, "CapEff:"); found {
			var mask uint64
			_, err := fmt.Sscanf(strings.TrimSpace(value), "%x", &mask)
			return err == nil && mask&(1<<bit) != 0
		}
	}
	return false
}
