package versioning

import (
	"runtime/debug"

	"github.com/pawl-go/pawl/statemachine"
)

// A computed is the result of a transition's functions.
type computed struct {
	to      statemachine.State
	data    any      // the row's data after the step
	outputs *Outputs // nil for none
}

// unloadable is the detail of a record whose entity has a row that functions can't get.
const unloadable = "the entity's row has a value that the row type can't hold; correct the row: %w"

// compute calls the functions of an event's branches: it takes the first branch whose
// condition holds, and calls its action.
func (e *entity) compute(r *Record, change int, branches []statemachine.Branch, o Outcome) (outcome Outcome, made computed) {
	c := &r.Changes[change]
	defer func() {
		if p := recover(); p != nil {
			err := &PanicError{Callback: "a function of event " + string(c.Event), Value: p, Stack: debug.Stack()}
			outcome, made = o.is(Rejected, ReasonRefused, "%q in state %q: %w", c.Event, e.state, err), computed{}
		}
	}()
	in := input{functions: e.rules.Functions, row: e.data, data: c.Data, event: c.Event}
	for i := range branches {
		b := &branches[i]
		if b.IsConditional() {
			if err := in.load(); err != nil {
				return o.is(Rejected, ReasonInvalidData, unloadable, err), computed{}
			}
			if !b.Holds(in.arguments()) {
				continue
			}
		}
		return e.act(r, c, b, &in, o)
	}
	return o.is(Rejected, ReasonNoBranch, "%q in state %q: no condition holds, and no branch is without one", c.Event, e.state), computed{}
}

// act calls the action of a branch.
func (e *entity) act(r *Record, c *Change, b *statemachine.Branch, in *input, o Outcome) (Outcome, computed) {
	o.Verdict = Applied
	if !b.Acts() {
		return o, computed{to: b.To, data: e.data}
	}
	if err := in.load(); err != nil {
		return o.is(Rejected, ReasonInvalidData, unloadable, err), computed{}
	}
	row, data := in.arguments()
	firing := statemachine.Firing{
		Machine: c.Machine, Key: c.Key, Event: c.Event, From: e.state, To: b.To, Version: e.version + 1, Time: r.Timestamp.UTC(),
	}
	switch err := b.Act(&firing, row, data); {
	case err == nil:
	case statemachine.IsNotYet(err):
		return o.is(Early, ReasonNotYet, "%w", err), computed{}
	default:
		return o.is(Rejected, ReasonRefused, "%w", err), computed{}
	}
	after, err := e.rules.Functions.rows.Store(e.data, row)
	if err != nil {
		return o.is(Rejected, ReasonInvalidData, "the action of %q in state %q: %w", c.Event, e.state, err), computed{}
	}
	outputs, err := e.outputs(&firing, r)
	if err != nil {
		return o.is(Rejected, ReasonInvalidOutput, "the action of %q in state %q: %w", c.Event, e.state, err), computed{}
	}
	return o, computed{b.To, after, outputs}
}

// input is what a function gets: a row and data that are not shared with anything else.
type input struct {
	functions *Functions
	event     statemachine.Event
	row, data any // the originals

	loaded, cloned any
}

// load makes copies for the next function. If an assignment copies them completely, the
// copies of a condition serve the next function too, because a condition gets them by
// value.
func (in *input) load() (err error) {
	if in.loaded == nil || !in.functions.rows.IsFlat() {
		if in.loaded, err = in.functions.rows.Load(in.row); err != nil {
			return err
		}
	}
	if d := in.functions.dataOf(in.event); d != nil && in.data != nil && (in.cloned == nil || !d.Flat()) {
		in.cloned, err = d.Clone(in.data)
	}
	return err
}

func (in *input) arguments() (row, data any) { return in.loaded, in.cloned }
