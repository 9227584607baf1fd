package postgres

import (
	"slices"

	"github.com/pawl-go/pawl/versioning"
)

// A unit is steps of one move that are written in one write: usually all steps of the
// move. If the table could tell the difference, each step is a separate unit.
//
// Units are written by level: all units of a level in one statement per table and kind
// of write, one level after another. Units may share a level only if the rows can't
// tell that from the order of the log:
//
//   - The units of one entity are on different levels, in their order.
//   - A value in a unique index, or in an exclusion constraint, may pass from one row to
//     another. An update that may free a value is not written before an update that comes
//     earlier in the log and may take it. Updates of one statement run in the order of the
//     log. So nothing is accepted that the order of the log would refuse. A value that is
//     taken too early is an error, and then the records are tried one by one.
//   - A row that a foreign key references is written on a level before the referencing
//     row if it comes first in the log, and on a level after it otherwise.
type unit struct {
	table *table
	move  *versioning.Move
	steps []versioning.Step
	set   []column // sorted by column; if several steps set a column, the last one wins
	prev  *unit    // the previous unit of the same move
	seq   int      // its place in the order of the log
	level int      // counted from 0

	inOrder bool // updates of its statement must run in the order of the log
}

func (u *unit) create() bool { return u.prev == nil && u.move.Create }

func (u *unit) from() (state string, version int64) {
	return string(u.steps[0].From), u.steps[0].Version - 1
}

func (u *unit) to() (state string, version int64) {
	last := &u.steps[len(u.steps)-1]
	return string(last.To), last.Version
}

// writing is the units of a plan, sorted by table and key.
type writing struct {
	units  []unit
	levels int
	serial bool // no order of levels is certain to be right: write the records one by one
}

// arrange turns moves, which are sorted by key, into units, and assigns their levels.
func (s *snapshot) arrange(moves []*versioning.Move) writing {
	w := writing{units: make([]unit, 0, len(moves)), levels: 1}
	coupled := false
	for _, t := range s.tables {
		machine := t.Machine.Name()
		for _, m := range moves {
			if m.Entity.Machine == machine {
				w.units = t.appendUnits(w.units, m)
			}
		}
		coupled = coupled || t.coupled()
	}
	switch {
	case s.mustBeSerial(moves):
		w.serial = true
	case coupled || len(w.units) > len(moves):
		w.level()
	}
	return w
}

// coupled reports whether rows of the table may conflict with each other.
func (t *table) coupled() bool {
	return len(t.rules.unique) > 0 || slices.ContainsFunc(t.rules.foreign, func(f foreignKey) bool { return f.parent != nil })
}

// mustBeSerial reports whether a record with several changes touches a table with
// deferred constraints: what these accept depends on the whole record.
func (s *snapshot) mustBeSerial(moves []*versioning.Move) bool {
	for _, m := range moves {
		if len(s.byMachine[m.Entity.Machine].rules.deferred) == 0 {
			continue
		}
		for i := range m.Steps {
			if len(m.Steps[i].Record.Changes) > 1 {
				return true
			}
		}
	}
	return false
}

// appendUnits appends the units of a move of the table.
func (t *table) appendUnits(units []unit, m *versioning.Move) []unit {
	if u, ok := t.folded(m); ok {
		return append(units, u)
	}
	for i := range m.Steps {
		s := &m.Steps[i]
		units = append(units, unit{table: t, move: m, steps: m.Steps[i : i+1], set: setBy(s), seq: s.Seq})
	}
	return units
}

// folded returns all steps of a move as one unit, unless the table could tell the
// difference.
func (t *table) folded(m *versioning.Move) (unit, bool) {
	u := unit{table: t, move: m, steps: m.Steps, set: setBy(&m.Steps[0]), seq: m.Steps[0].Seq}
	if len(m.Steps) == 1 {
		return u, true
	}
	if len(t.rules.everyStep) > 0 || m.Create && t.lacks(u.set) {
		return u, false
	}
	touched := t.touches(u.set) || m.Create && len(t.rules.reasons) > 0
	u.set = slices.Clone(u.set)
	for i := range m.Steps[1:] {
		s := &m.Steps[1+i]
		set := setBy(s)
		if t.touches(set) {
			if touched {
				return u, false
			}
			touched, u.seq = true, s.Seq
		}
		for _, c := range set {
			j := slices.IndexFunc(u.set, func(have column) bool { return have.at == c.at })
			switch {
			case j < 0:
				u.set = append(u.set, c)
			case !t.FoldSteps && !t.takes(u.set[j]):
				return u, false
			default:
				u.set[j] = c
			}
		}
	}
	slices.SortFunc(u.set, byColumn)
	return u, true
}

// touches reports whether setting these columns may be refused because of other values
// in the row, or of other rows.
func (t *table) touches(set []column) bool {
	return len(t.rules.reasons) > 0 && slices.ContainsFunc(set, func(c column) bool { return t.rules.constrained[c.at] })
}

// lacks reports whether a new row that sets only these columns lacks a required value.
func (t *table) lacks(set []column) bool {
	if t.FoldSteps {
		return false
	}
	return slices.ContainsFunc(t.required, func(at int) bool {
		return !slices.ContainsFunc(set, func(c column) bool { return c.at == at && !c.null })
	})
}
