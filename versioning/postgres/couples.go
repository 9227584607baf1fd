package postgres

import (
	"slices"
	"strings"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// couples are the entities of a batch that constraints of their tables tie together.
type couples struct {
	ties [][]versioning.Entity
	all  bool // the ties are unknown: any entity may be tied to any other
}

// couples returns the entities of records that constraints tie together.
func (s *snapshot) couples(records []*versioning.Record) couples {
	var c couples
	if !slices.ContainsFunc(s.tables, (*table).coupled) {
		return c
	}
	in := make(map[versioning.Entity]bool)
	for _, r := range records {
		for i := range r.Changes {
			in[r.Entity(i)] = true
		}
	}
	taken := make(map[claim]versioning.Entity)
	for _, r := range records {
		for i := range r.Changes {
			if t := s.byMachine[r.Changes[i].Machine]; t != nil && r.Err == nil && t.coupled() {
				c.add(t, r, i, in, taken)
			}
		}
	}
	return c
}

// claim is a value that a record claims in a unique index.
type claim struct {
	index  *uniqueness
	values string
}

func (c *couples) add(t *table, r *versioning.Record, change int, in map[versioning.Entity]bool, taken map[claim]versioning.Entity) {
	self, event := r.Entity(change), r.Changes[change].Event
	set := setOf(r, change)
	create, update := t.creates[event], t.updates[event]
	if t.computesCoupled(event) {
		c.all = true
		return
	}
	for i := range t.rules.unique {
		index := &t.rules.unique[i]
		touches := slices.ContainsFunc(set, func(c column) bool { return index.columns[c.at] })
		if update && (touches || index.always) { // it may free a value in the index
			c.all = true
			return
		}
		if !create {
			continue
		}
		values, null, ok := index.claims(t, set)
		switch {
		case null:
		case !ok:
			c.all = true
			return
		default:
			c.tieClaim(claim{index, values}, self, taken)
		}
	}
	for i := range t.rules.foreign {
		f := &t.rules.foreign[i]
		if f.parent == nil {
			continue
		}
		parent, known, ok := f.namedBy(t, self, set, create)
		switch {
		case !ok:
		case !known:
			c.all = true
			return
		case in[parent]:
			c.ties = append(c.ties, []versioning.Entity{self, parent})
		}
	}
}

// computesCoupled reports whether functions of an event may compute a column that
// couples rows. What they compute is not known before the fold.
func (t *table) computesCoupled(event statemachine.Event) bool {
	if t.rows == nil || t.Machine.EventType(event) == nil {
		return false
	}
	return slices.ContainsFunc(t.rows.fields, func(f rowField) bool {
		return !f.ReadOnly && (slices.ContainsFunc(t.rules.unique, func(u uniqueness) bool { return u.columns[f.at] }) ||
			slices.ContainsFunc(t.rules.foreign, func(k foreignKey) bool { return k.parent != nil && k.columns[f.at] }))
	})
}

func (c *couples) tieClaim(what claim, self versioning.Entity, taken map[claim]versioning.Entity) {
	if other, ok := taken[what]; ok {
		c.ties = append(c.ties, []versioning.Entity{self, other})
		return
	}
	taken[what] = self
}

// eventsOf returns the events that create an entity, and those that move one.
func eventsOf(m *statemachine.Machine) (create, update map[statemachine.Event]bool) {
	create, update = make(map[statemachine.Event]bool), make(map[statemachine.Event]bool)
	for _, event := range m.Creating() {
		create[event] = true
	}
	for _, event := range m.Events() {
		update[event] = slices.ContainsFunc(m.States(), func(state statemachine.State) bool {
			_, legal := m.Fire(state, event)
			return legal
		})
	}
	return create, update
}

// claims returns the values that a new row claims in the index, in canonical form. A
// row with a NULL among them claims nothing. ok is false if the values are unknown.
func (index *uniqueness) claims(t *table, set []column) (values string, null, ok bool) {
	if index.exact == nil || index.always || index.late {
		return "", false, false
	}
	var b strings.Builder
	for _, at := range index.exact {
		col := &t.columns[at]
		j := slices.IndexFunc(set, func(c column) bool { return c.at == at })
		switch {
		case j < 0 && col == t.key:
			return "", true, true // no other row has the key
		case j < 0 && (col.hasDefault || col.identity != ""), j >= 0 && set[j].null && index.nullsEqual:
			return "", false, false
		case j < 0, set[j].null:
			return "", !index.nullsEqual, !index.nullsEqual
		}
		value, err := col.canonical(set[j].text)
		if err != nil {
			return "", false, false // PostgreSQL will refuse the value, or accepts a form that is not known here
		}
		b.WriteString(value)
		b.WriteByte(0)
	}
	return b.String(), false, true
}
