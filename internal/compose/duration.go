package compose

import (
	"time"

	"github.com/xhit/go-str2duration/v2"
)

// Duration reads a duration as Compose writes it: 1m30s, 2h, 1d, 500ms. "" is 0.
func Duration(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	return str2duration.ParseDuration(text)
}
