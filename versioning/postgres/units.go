package postgres

import (
	"slices"

	"github.com/pawl-go/pawl/versioning"
)

// A unit is steps of one move that reach the row in one write. As a rule these are all
// of the move. Where the table could tell, each step is a unit of its own.
//
// Units are written by level: those of one level in one statement for each table and
// kind of write, one level after the other. What a level may hold is what the rows
// could not tell from the order of the log:
//
//   - The units of one entity are on different levels, in their order.
//   - A place in a unique index, or in an exclusion constraint, may be handed over. An
//     update that could give a place up is not written before one that comes earlier in
//     the log and could take it; updates of one statement are made in the order of the
//     log. So nothing passes that the order of the log refuses. A place that is wanted
//     too early is an error, and then the records are tried one by one.
//   - A row that a foreign key of another one names is written on a level before it if
//     it comes first in the log, and on a level after it if it does not.
type unit struct {
	table *table
	move  *versioning.Move
	steps []versioning.Step
	set   []column // by column; where several steps set one, the last wins
	prev  *unit    // of the same move
	seq   int      // its place in the order of the log
	level int      // from 0 on

	inOrder bool // updates of its statement are to be made in the order of the log
}

func (u *unit) create() bool { return u.prev == nil && u.move.Create }

func (u *unit) from() (state string, version int64) {
	return string(u.steps[0].From), u.steps[0].Version - 1
}

func (u *unit) to() (state string, version int64) {
	last := &u.steps[len(u.steps)-1]
	return string(last.To), last.Version
}

// writing are the units of a plan, in the order of their tables and keys.
type writing struct {
	units  []unit
	levels int
	serial bool // no order of levels is certain to be right: the records are to be written one by one
}

// arrange makes units of moves, which are in the order of their keys, and gives them
// their levels.
func (s *edition) arrange(moves []*versioning.Move) writing {
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
	case s.atOnce(moves):
		w.serial = true
	case coupled || len(w.units) > len(moves):
		w.level()
	}
	return w
}

// coupled reports whether rows of the table could be in each other's way.
func (t *table) coupled() bool {
	return len(t.rules.unique) > 0 || slices.ContainsFunc(t.rules.foreign, func(f foreignKey) bool { return f.parent != nil })
}

// atOnce reports whether there are records with several changes, one of them of a table
// whose constraints wait for the COMMIT: what they let pass hangs on the whole record.
func (s *edition) atOnce(moves []*versioning.Move) bool {
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

// folded returns all steps of a move as one unit, unless the table could tell that.
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

// touches reports whether what is set could be refused for what else is in the row, or
// in other rows.
func (t *table) touches(set []column) bool {
	return len(t.rules.reasons) > 0 && slices.ContainsFunc(set, func(c column) bool { return t.rules.touchy[c.at] })
}

// lacks reports whether a new row that sets no more than this has no value where it
// must have one.
func (t *table) lacks(set []column) bool {
	if t.FoldSteps {
		return false
	}
	return slices.ContainsFunc(t.required, func(at int) bool {
		return !slices.ContainsFunc(set, func(c column) bool { return c.at == at && !c.null })
	})
}
