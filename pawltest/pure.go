package pawltest

import (
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// A purity calls the functions of records again and again, and compares what they do.
type purity struct {
	world *world
	bench *testing.T // to call functions at other times; may be nil
	types map[string]map[statemachine.Event]*versioning.DataType
	seen  map[string]answer // by input
}

func newPurity(bench *testing.T, w *world) (*purity, error) {
	p := &purity{w, bench, make(map[string]map[statemachine.Event]*versioning.DataType), make(map[string]answer)}
	for _, t := range w.cfg.Tables {
		types := make(map[statemachine.Event]*versioning.DataType)
		for _, e := range t.Machine.Events() {
			if of := t.Machine.EventType(e); of != nil {
				var err error
				if types[e], err = versioning.DataTypeOf(of); err != nil {
					return nil, err
				}
			}
		}
		p.types[t.Machine.Name()] = types
	}
	return p, nil
}

// manyCalls is how often a function is called in a row. Go ranges over a map of two in the less
// frequent order once in eight times, so a function that depends on it is found in 9,998 of 10,000
// cases.
const manyCalls = 64

// decodeCalls is how often Decode is called.
const decodeCalls = 8

// impure begins the kind of the fault of a function that is not pure.
const impure = "impure "

// A callPlace says under which circumstances functions are called again.
type callPlace struct {
	name string
	call func(p *purity, of *probe) answer
}

var callPlaces = []callPlace{
	{"a second call with equal arguments", func(_ *purity, of *probe) answer { return of.call() }},
	{"a call in another goroutine", func(_ *purity, of *probe) (a answer) {
		done := make(chan answer)
		go func() { done <- of.call() }()
		return <-done
	}},
	{"a call at another time", func(p *purity, of *probe) answer { return p.later(of, 0) }},
	{"a call at another time, seven months later", func(p *purity, of *probe) answer { return p.later(of, 5003*time.Hour) }},
}

// later calls functions where the clock shows the year 2000, and some more.
func (p *purity) later(of *probe, pause time.Duration) (a answer) {
	if p.bench == nil {
		return of.call()
	}
	synctest.Test(p.bench, func(*testing.T) {
		time.Sleep(pause) // does not take any time: the clock of a bubble jumps
		a = of.call()
	})
	return a
}

// check calls the functions that a prepared record needs. branches has the branch that each
// change takes, if that is known.
func (p *purity) check(r *versioning.Record) (f *fault, branches map[int]int, err error) {
	if p == nil || !isUsable(r) {
		return nil, nil, nil
	}
	branches = make(map[int]int)
	touched := make(map[versioning.Entity]bool)
	for i := range r.Changes {
		e := r.Entity(i)
		if touched[e] {
			continue // the row is not known in between
		}
		touched[e] = true
		of, err := p.probe(r, i)
		if err != nil {
			return nil, nil, err
		}
		if of == nil {
			continue
		}
		f, a, err := p.compare(of)
		if f != nil || err != nil {
			return f, nil, err
		}
		branches[i] = a.branch
	}
	return nil, branches, nil
}

// isUsable reports whether a prepared record can have an effect.
func isUsable(r *versioning.Record) bool { return r.Err == nil && r.Unfit == nil }

// probe returns the input of the functions for a change, or nil if it has none.
func (p *purity) probe(r *versioning.Record, index int) (*probe, error) {
	c := &r.Changes[index]
	rows, machine := p.world.rows[c.Machine], p.world.cfg.machine(c.Machine)
	if rows == nil {
		return nil, nil
	}
	values, state, version, err := p.world.look(r.Entity(index), true)
	if err != nil {
		return nil, err
	}
	if len(machine.Branches(state, c.Event)) == 0 {
		return nil, nil
	}
	return &probe{
		machine: machine, rows: rows, values: values, types: p.types[c.Machine], data: c.Data,
		firing: statemachine.Firing{
			Machine: c.Machine, Key: c.Key, Event: c.Event, From: state, Version: version + 1, Time: r.Timestamp.UTC(),
		},
	}, nil
}

// compare calls the functions and compares what they do.
func (p *purity) compare(of *probe) (*fault, answer, error) {
	key, err := of.key()
	if err != nil {
		return nil, answer{}, err
	}
	first, known := p.seen[key]
	if !known {
		first = of.call()
		p.seen[key] = first
	}
	if first.fault != "" {
		return of.faulty(first.fault), first, nil
	}
	if known {
		if f := of.differs("an earlier call with equal arguments", of.call(), first); f != nil {
			return f, first, nil
		}
	}
	for range manyCalls {
		if f := of.differs(callPlaces[0].name, first, callPlaces[0].call(p, of)); f != nil {
			return f, first, nil
		}
	}
	for _, place := range callPlaces[1:] {
		if f := of.differs(place.name, first, place.call(p, of)); f != nil {
			return f, first, nil
		}
	}
	return nil, first, nil
}

// differs returns the fault of functions that do two different things.
func (p *probe) differs(with string, one, other answer) *fault {
	if one.text == other.text && one.branch == other.branch {
		return nil
	}
	if other.fault != "" {
		return p.faulty(other.fault)
	}
	diff := cmp.Diff(one.text, other.text)
	return p.faulty(fmt.Sprintf("%s does something else (-one, +other):\n%s", with, indent(diff, "    ")))
}

// faulty returns a fault of the functions of the probe's event.
func (p *probe) faulty(what string) *fault {
	in := fmt.Sprintf("in state %q", p.firing.From)
	if p.firing.From == statemachine.None {
		in = "without an entity"
	}
	return &fault{
		kind: impure + string(p.firing.Event),
		text: fmt.Sprintf("the functions of %q are not pure: %s, %s", p.firing.Event, in, what),
	}
}

// decodes checks that Decode returns the same for the same record.
func (p *purity) decodes(r *versioning.Record, decode func(*versioning.Record) ([]versioning.Change, error)) *fault {
	if p == nil || decode == nil {
		return nil
	}
	for range decodeCalls {
		again := &versioning.Record{Origin: r.Origin, Key: r.Key, Value: r.Value, Headers: r.Headers, Timestamp: r.Timestamp}
		again.Decode(decode)
		if !reflect.DeepEqual(r.Changes, again.Changes) || (r.Err == nil) != (again.Err == nil) {
			return &fault{kind: impure + "Decode", text: fmt.Sprintf(
				"Decode is not pure: a second call with the same record returns something else (-one, +other):\n    - %s\n    + %s",
				describe(r), describe(again))}
		}
	}
	return nil
}
