package ui

import (
	"fmt"
	"slices"
	"strings"
)

// Mode is how progress is shown. It is a flag value that lists what it takes.
type Mode string

// The modes. Auto becomes TTY or Plain by Resolve, before a Display is made.
const (
	Auto  Mode = "auto"
	TTY   Mode = "tty"
	Plain Mode = "plain"
	JSON  Mode = "json"
	Quiet Mode = "quiet"
)

// Modes are all modes, in the order of the help text.
func Modes() []string {
	return []string{string(Auto), string(TTY), string(Plain), string(JSON), string(Quiet)}
}

// Set takes a mode's name.
func (m *Mode) Set(s string) error { return setEnum((*string)(m), s, Modes()) }

// String is the mode's name.
func (m *Mode) String() string { return string(*m) }

// Type lists the modes, for help texts.
func (m *Mode) Type() string { return strings.Join(Modes(), "|") }

// ColorMode is when colours are used. It is a flag value.
type ColorMode string

// The colour modes.
const (
	ColorAuto   ColorMode = "auto"
	ColorAlways ColorMode = "always"
	ColorNever  ColorMode = "never"
)

// ColorModes are all colour modes, in the order of the help text.
func ColorModes() []string {
	return []string{string(ColorAuto), string(ColorAlways), string(ColorNever)}
}

// Set takes a colour mode's name.
func (c *ColorMode) Set(s string) error { return setEnum((*string)(c), s, ColorModes()) }

// String is the colour mode's name.
func (c *ColorMode) String() string { return string(*c) }

// Type lists the colour modes, for help texts.
func (c *ColorMode) Type() string { return strings.Join(ColorModes(), "|") }

// Format is how a result is printed. It is a flag value.
type Format string

// The formats. "" is the command's own choice, which is Table where there is one.
const (
	FormatDefault Format = ""
	FormatTable   Format = "table"
	FormatJSON    Format = "json"
	FormatYAML    Format = "yaml"
	FormatName    Format = "name"
)

// Formats are all formats, in the order of the help text.
func Formats() []string {
	return []string{string(FormatTable), string(FormatJSON), string(FormatYAML), string(FormatName)}
}

// Set takes a format's name.
func (f *Format) Set(s string) error { return setEnum((*string)(f), s, Formats()) }

// String is the format's name.
func (f *Format) String() string { return string(*f) }

// Type lists the formats, for help texts.
func (f *Format) Type() string { return strings.Join(Formats(), "|") }

func setEnum(to *string, s string, allowed []string) error {
	if !slices.Contains(allowed, s) {
		return fmt.Errorf("must be one of %s", strings.Join(allowed, ", "))
	}
	*to = s
	return nil
}

// Surroundings is what a stream is and what the environment says of it: all that decides how to write to it.
type Surroundings struct {
	Terminal bool   // the stream is a terminal
	Term     string // TERM
	NoColor  string // NO_COLOR: any value at all switches colours off (no-color.org)
	CI       string // CI: "" and "false" mean that this is no CI job
}

// Resolve turns Auto into TTY or Plain: lines are redrawn only on a terminal that can move its cursor, outside CI.
// A mode that was asked for by name is kept, but TTY needs a terminal.
func (m Mode) Resolve(s Surroundings) Mode {
	drawable := s.Terminal && s.Term != "" && s.Term != "dumb"
	switch {
	case m == TTY && !s.Terminal:
		return Plain
	case m != Auto:
		return m
	case drawable && (s.CI == "" || s.CI == "false"):
		return TTY
	default:
		return Plain
	}
}

// Colors says whether colours may be written to a stream.
func (c ColorMode) Colors(s Surroundings) bool {
	switch c {
	case ColorAlways:
		return true
	case ColorNever:
		return false
	default:
		return s.Terminal && s.NoColor == "" && s.Term != "" && s.Term != "dumb"
	}
}
