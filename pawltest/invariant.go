package pawltest

import (
	"fmt"
	"reflect"

	"github.com/pawl-go/pawl/versioning"
)

// An Invariant is something that always holds for every entity. [Each] and [Together] make them.
type Invariant struct {
	name  string
	row   reflect.Type
	check func(e *Entity) error
	all   func(all []*Entity) error
}

// Each returns an invariant of each entity of the machines with row type R; use struct{} for those
// without functions. check gets the entity and its row, and returns an error if the
// invariant does not hold. An entity without a row is not checked.
func Each[R any](name string, check func(e *Entity, row R) error) Invariant {
	of := reflect.TypeFor[R]()
	return Invariant{name: name, row: of, check: func(e *Entity) error {
		row, _ := e.Row.(R)
		return check(e, row)
	}}
}

// Together returns an invariant of all entities together, such as that money only moves between
// accounts. check gets all entities that have a row, sorted by machine and key.
func Together(name string, check func(all []*Entity) error) Invariant {
	return Invariant{name: name, all: check}
}

// concerns reports whether an invariant is about an entity.
func (i *Invariant) concerns(e *Entity) bool {
	if e.Row == nil {
		return i.row == reflect.TypeFor[struct{}]()
	}
	return reflect.TypeOf(e.Row) == i.row
}

// hold returns the fault of the first invariant that does not hold.
func (w *world) hold(invariants []Invariant) (*fault, error) {
	if len(invariants) == 0 {
		return nil, nil
	}
	names, err := w.back.entities(w.ctx)
	if err != nil {
		return nil, err
	}
	all := make([]*Entity, len(names))
	for i, e := range names {
		if all[i], err = w.entity(e); err != nil {
			return nil, err
		}
	}
	for i := range invariants {
		if f := w.holds(&invariants[i], all); f != nil {
			return f, nil
		}
	}
	return nil, nil
}

func (w *world) holds(i *Invariant, all []*Entity) *fault {
	broken := func(of string, err error) *fault {
		return &fault{"invariant " + i.name, fmt.Sprintf("the invariant %q does not hold%s: %v", i.name, of, err)}
	}
	if i.all != nil {
		if err := i.all(all); err != nil {
			return broken("", err)
		}
		return nil
	}
	for _, e := range all {
		if !i.concerns(e) {
			continue
		}
		if err := i.check(e); err != nil {
			return broken(" for "+w.nameOf(versioning.Entity{Machine: e.Machine, Key: e.Key}), err)
		}
	}
	return nil
}
