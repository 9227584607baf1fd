package rollout

import (
	"slices"
	"time"

	"github.com/pawl-go/pawl/statemachine"
)

// A crate is a row.
type crate struct {
	Weight int64 `db:"weight"`
}

// Cargo is the data of the events that add weight.
type cargo struct {
	Weight int64 `json:"weight"`
}

const machineName = "crate"

// The versions of the machine. Each is a function of the topic to which transitions send
// messages.
//
//   - v1 has the states open, paused and closed.
//   - v2 calls them active, halted and closed, and adds the state checked with the event that
//     leads to it.
//   - v3 goes back for good: it has the states of v1, and takes the event checked without a
//     new state, because such records may still arrive.
var versions = map[int]func(out string) *statemachine.Machine{
	1: func(out string) *statemachine.Machine { return compile(1, out, "open", "paused", nil) },
	2: func(out string) *statemachine.Machine {
		return compile(2, out, "active", "halted", func(d *statemachine.Definition, load statemachine.Action) {
			d.Transitions = append(d.Transitions,
				statemachine.Transition{Event: "checked", From: statemachine.In("active"), To: "checked"},
				statemachine.Transition{Event: "loaded", From: statemachine.In("checked"), To: "checked", Do: load},
				statemachine.Transition{Event: "tied", From: statemachine.In("checked"), To: "checked", Do: load},
				statemachine.Transition{Event: "audited", From: statemachine.In("checked"), To: "checked", After: 40 * time.Millisecond},
				statemachine.Transition{Event: "paused", From: statemachine.In("checked"), To: "halted"},
				statemachine.Transition{Event: "closed", From: statemachine.In("checked"), To: "closed"})
			d.Migrations = []statemachine.Migration{
				{From: statemachine.In("open"), To: "active"},
				{From: statemachine.In("paused"), To: "halted"},
			}
		})
	},
	3: func(out string) *statemachine.Machine {
		return compile(3, out, "open", "paused", func(d *statemachine.Definition, _ statemachine.Action) {
			d.Transitions = append(d.Transitions, statemachine.Transition{Event: "checked", From: statemachine.In("open"), To: "open"})
			d.Migrations = []statemachine.Migration{
				{From: statemachine.In("active", "checked"), To: "open"},
				{From: statemachine.In("halted"), To: "paused"},
			}
		})
	},
}

// compile returns a version of the machine. open and paused are the names of states.
func compile(version int, out string, open, paused statemachine.State, more func(*statemachine.Definition, statemachine.Action)) *statemachine.Machine {
	load := statemachine.Do(func(f *statemachine.Firing, row *crate, c cargo) error {
		row.Weight += c.Weight
		f.Emit(out, c)
		return nil
	})
	d := statemachine.Definition{
		Name: machineName, Version: version,
		Transitions: []statemachine.Transition{
			{Event: "opened", To: open},
			{Event: "loaded", From: statemachine.In(open), To: open, Do: load},
			{Event: "tied", From: statemachine.In(open), To: open, Do: load},
			{Event: "reminded", From: statemachine.In(open), To: open, After: 50 * time.Millisecond},
			{Event: "paused", From: statemachine.In(open), To: paused},
			{Event: "resumed", From: statemachine.In(paused), To: open, After: 20 * time.Millisecond},
			{Event: "closed", From: statemachine.In(open), To: "closed"},
		},
		Terminal: statemachine.In("closed"),
	}
	if more != nil {
		more(&d, load)
	}
	return statemachine.MustCompile(d)
}

// isOwn reports whether an event is none of a record: a timer's, or that of a migration.
func isOwn(e statemachine.Event) bool {
	return slices.Contains([]statemachine.Event{"reminded", "resumed", "audited", statemachine.Migrated}, e)
}
