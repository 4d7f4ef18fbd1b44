package render

import "github.com/compose-spec/compose-go/v2/types"

// Browsable guesses whether a browser can open what listens on a TCP port of a container, of which nothing but the number is
// known.
func Browsable(port int32) bool {
	return port > 0 && likelyHTTP(types.ServicePortConfig{Target: uint32(port)}) //nolint:gosec // a port
}
