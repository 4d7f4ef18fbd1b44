package cli

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
)

// seconds is a duration flag that takes 30s and 5m, and bare seconds as docker compose has them.
type seconds time.Duration

func (s *seconds) Set(text string) error {
	if n, err := strconv.Atoi(text); err == nil && n >= 0 {
		*s = seconds(time.Duration(n) * time.Second)
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return errors.New("must be a duration, as 30s or 5m, or seconds")
	}
	*s = seconds(d)
	return nil
}

func (s *seconds) String() string { return strings.TrimSuffix(time.Duration(*s).String(), "0s") }
func (s *seconds) Type() string   { return "duration" }

// pullPolicy is when images are pulled.
type pullPolicy string

func (p *pullPolicy) Set(text string) error {
	if !slices.Contains([]string{"always", "missing"}, text) {
		return errors.New("must be one of always, missing")
	}
	*p = pullPolicy(text)
	return nil
}

func (p *pullPolicy) String() string { return string(*p) }
func (p *pullPolicy) Type() string   { return "policy" }

// list writes names for a message.
func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
