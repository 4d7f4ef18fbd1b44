// Package progress is how the stages tell what they are doing. A stage is given a Reporter and sends it Events;
// renderers (package ui) turn the events into a terminal, a CI log or JSON. It imports nothing of ours, and no
// stage writes to a stream.
package progress

import "time"

// Status is the state of the thing an Event is about.
type Status string

// The states of a thing. Working may be sent many times, the others end it (until Working is sent again).
const (
	Working Status = "working" // it goes on; Text says what happens now
	Done    Status = "done"    // it is there, and something was changed for it
	Same    Status = "same"    // it was there already: nothing was changed
	Warned  Status = "warned"  // a warning about it; it does not end the thing
	Failed  Status = "failed"  // it did not come to be; Text says why
	Output  Status = "output"  // Text is one line printed by the thing itself (a build, a migration); it does not end it
)

// Event is one change of one thing. Events of one ID are in order; events of different IDs are not.
type Event struct {
	ID      string    `json:"id"`                // the thing, as users call it: "cluster", "image web", "service web"
	Parent  string    `json:"parent,omitempty"`  // ID of the thing this one is a part of
	Text    string    `json:"text,omitempty"`    // what happens or happened to it: lower case, no full stop, no secret
	Status  Status    `json:"status"`            //
	Current int64     `json:"current,omitempty"` // how much of Total is done, in units of the thing (bytes, replicas)
	Total   int64     `json:"total,omitempty"`   // 0: not known
	Time    time.Time `json:"time,omitzero"`     // set by the renderer when zero
}

// Reporter takes events. Report may be called by several goroutines at once and must not block for long.
type Reporter interface {
	Report(Event)
}

// Func is a function used as a Reporter.
type Func func(Event)

// Report calls f.
func (f Func) Report(e Event) { f(e) }

// Discard is a Reporter that drops every event.
var Discard Reporter = Func(func(Event) {})
