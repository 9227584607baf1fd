package postgres

import (
	"github.com/pawl-go/pawl/versioning"

	"cmp"
	"slices"
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

// level gives the units their levels, in the order of the log.
func (w *writing) level() {
	inLog := make([]*unit, len(w.units))
	for i := range w.units {
		u := &w.units[i]
		if i > 0 && w.units[i-1].move == u.move {
			u.prev = &w.units[i-1]
		}
		inLog[i] = u
	}
	slices.SortFunc(inLog, func(a, b *unit) int { return cmp.Compare(a.seq, b.seq) })
	l := leveling{
		places:  make(map[*uniqueness]*places),
		created: make(map[versioning.Entity]int), named: make(map[versioning.Entity]int),
		anyNamed: make(map[*table]int), anyCreated: make(map[*table]int),
	}
	for _, u := range inLog {
		u.level = l.of(u)
		w.levels = max(w.levels, u.level+1)
	}
	w.serial = l.serial
}

// leveling is what the units so far have done.
type leveling struct {
	places     map[*uniqueness]*places
	created    map[versioning.Entity]int // on which level a row was made, and one more
	named      map[versioning.Entity]int // up to which level foreign keys named it, and one more
	anyCreated map[*table]int
	anyNamed   map[*table]int // by foreign keys with a value that is not known
	serial     bool
}

// places are the levels, and one more, up to which units wrote to an index.
type places struct{ updates, inserts int }

// of returns the level of the next unit, and notes what it does.
func (l *leveling) of(u *unit) int {
	level := 0
	if u.prev != nil {
		level = u.prev.level + 1
	}
	t := u.table
	for i := range t.rules.unique {
		level = max(level, l.placesOf(&t.rules.unique[i]).allow(u, &t.rules.unique[i]))
	}
	level = max(level, l.namedBefore(u))
	for i := range t.rules.foreign {
		level = max(level, l.after(u, &t.rules.foreign[i]))
	}
	for i := range t.rules.unique {
		l.placesOf(&t.rules.unique[i]).note(u, &t.rules.unique[i], level)
	}
	if u.create() {
		l.created[u.move.Entity] = level + 1
		l.anyCreated[t] = max(l.anyCreated[t], level+1)
	}
	for i := range t.rules.foreign {
		l.note(u, &t.rules.foreign[i], level)
	}
	return level
}

func (l *leveling) placesOf(index *uniqueness) *places {
	p := l.places[index]
	if p == nil {
		p = &places{}
		l.places[index] = p
	}
	return p
}

// allow returns the first level that a unit may be on for the sake of an index.
func (p *places) allow(u *unit, index *uniqueness) int {
	switch {
	case !index.concerns(u):
		return 0
	case u.create():
		return max(p.updates-1, 0, index.later(p.updates))
	}
	return max(p.inserts, p.updates-1, index.later(p.updates))
}

func (p *places) note(u *unit, index *uniqueness, level int) {
	switch {
	case !index.concerns(u):
	case u.create():
		p.inserts = max(p.inserts, level+1)
	default:
		u.inOrder = true
		p.updates = max(p.updates, level+1)
	}
}

// later returns a level where an index has every write wait for those before it.
func (index *uniqueness) later(level int) int {
	if index.late {
		return level
	}
	return 0
}

// concerns reports whether a unit may take or give up a place in the index.
func (index *uniqueness) concerns(u *unit) bool {
	return u.create() || index.always || slices.ContainsFunc(u.set, func(c column) bool { return index.columns[c.at] })
}

// namedBefore returns the first level for a row that is made, after those that named it
// when it was not there yet.
func (l *leveling) namedBefore(u *unit) int {
	if !u.create() {
		return 0
	}
	return max(l.named[u.move.Entity], l.anyNamed[u.table])
}

// after returns the first level for a unit whose row may name another one.
func (l *leveling) after(u *unit, f *foreignKey) int {
	parent, known, ok := f.names(u)
	switch {
	case !ok:
		return 0
	case f.column < 0:
		l.serial = true
		return 0
	case !known:
		return l.anyCreated[f.parent]
	}
	return l.created[parent]
}

func (l *leveling) note(u *unit, f *foreignKey, level int) {
	parent, known, ok := f.names(u)
	switch {
	case !ok || f.column < 0:
	case !known:
		l.anyNamed[f.parent] = max(l.anyNamed[f.parent], level+1)
	default:
		l.named[parent] = max(l.named[parent], level+1)
	}
}

// names returns the entity that a unit's row names from now on by a foreign key. ok is
// false if it names none of the store's anew, or itself; known is false if that can't
// be told.
func (f *foreignKey) names(u *unit) (parent versioning.Entity, known, ok bool) {
	if f.parent == nil {
		return versioning.Entity{}, false, false
	}
	return f.namedBy(u.table, u.move.Entity, u.set, u.create())
}

func (f *foreignKey) namedBy(t *table, self versioning.Entity, set []column, create bool) (parent versioning.Entity, known, ok bool) {
	if f.column < 0 {
		sets := slices.ContainsFunc(set, func(c column) bool { return f.columns[c.at] && !c.null })
		for at, on := range f.columns {
			sets = sets || create && on && t.columns[at].hasDefault
		}
		return versioning.Entity{}, false, sets || f.derived
	}
	if f.derived {
		return versioning.Entity{}, false, true
	}
	j, isSet := slices.BinarySearchFunc(set, f.column, func(c column, at int) int { return c.at - at })
	switch {
	case !isSet:
		return versioning.Entity{}, false, create && t.columns[f.column].hasDefault
	case set[j].null:
		return versioning.Entity{}, false, false
	}
	key, err := f.parent.canonicalKey(set[j].text)
	if err != nil {
		return versioning.Entity{}, false, true // PostgreSQL will refuse it, or knows better
	}
	parent = versioning.Entity{Machine: f.parent.Machine.Name(), Key: key}
	return parent, true, parent != self
}

// byLog is the order of the log.
func byLog(a, b *unit) int { return cmp.Compare(a.seq, b.seq) }
