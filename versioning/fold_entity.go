package versioning

import "github.com/pawl-go/pawl/statemachine"

// An entity is the state of one entity during the fold.
type entity struct {
	*Known

	name    Entity
	rules   *Rules
	state   statemachine.State
	version int64
	data    any // of the row, for the machine's functions
	steps   []Step
	taken   MessageIDs // the messages of the steps, except those of the current record
	waiting []*waiting // in the order in which they were parked
	woken   bool
	guessed bool // the current record has made a step whose branch is unknown, which will be undone
}

// entity returns the fold's state of an entity, or nil if its machine is unknown.
func (f *folder) entity(name Entity) *entity {
	if f.last != nil && f.last.name == name {
		return f.last
	}
	e := f.find(name)
	if e != nil {
		f.last = e
	}
	return e
}

func (f *folder) find(name Entity) *entity {
	known := f.view.Entities[name]
	var e *entity
	if known != nil && known.n > 0 {
		e = &f.numbered[known.n-1]
	} else if e = f.others[name]; e == nil {
		e = &entity{}
	}
	if e.Known != nil {
		return e
	}
	rules, ok := f.rules[name.Machine]
	if !ok {
		return nil
	}
	if known == nil {
		known = &Known{}
	}
	if known.n == 0 {
		f.others[name] = e
	}
	*e = entity{
		Known: known, name: name, rules: rules, state: known.Row.State, version: known.Row.Version, data: known.Row.Data,
		steps: f.spareSteps.take(known.changes), taken: MessageIDs{few: f.spareIDs.take(min(known.changes, manyMessages))},
	}
	f.order = append(f.order, e)
	return e
}
