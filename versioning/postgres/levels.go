package postgres

import (
	"cmp"
	"slices"

	"github.com/pawl-go/pawl/versioning"
)

// level assigns the units their levels, in the order of the log.
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

// leveling is what the previous units have done.
type leveling struct {
	places     map[*uniqueness]*places
	created    map[versioning.Entity]int // the level on which a row is created, plus one
	named      map[versioning.Entity]int // the last level on which foreign keys referenced the row, plus one
	anyCreated map[*table]int
	anyNamed   map[*table]int // by foreign keys with an unknown value
	serial     bool
}

// places are the last levels on which units wrote to an index, plus one.
type places struct{ updates, inserts int }

// of returns the level of the next unit, and records what the unit does.
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

// allow returns the first level on which an index allows a unit.
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

// later returns level if the index makes every write wait for the previous ones,
// otherwise 0.
func (index *uniqueness) later(level int) int {
	if index.late {
		return level
	}
	return 0
}

// concerns reports whether a unit may take or free a value in the index.
func (index *uniqueness) concerns(u *unit) bool {
	return u.create() || index.always || slices.ContainsFunc(u.set, func(c column) bool { return index.columns[c.at] })
}

// namedBefore returns the first level for a new row, after the units that referenced it
// before it existed.
func (l *leveling) namedBefore(u *unit) int {
	if !u.create() {
		return 0
	}
	return max(l.named[u.move.Entity], l.anyNamed[u.table])
}

// after returns the first level for a unit whose row may reference another row.
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

// names returns the entity that a unit's row newly references by a foreign key. ok is
// false if it references no other entity of the store, or no new one. known is false if
// the entity is unknown.
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
		return versioning.Entity{}, false, true // PostgreSQL will refuse the value, or accepts a form that is not known here
	}
	parent = versioning.Entity{Machine: f.parent.Machine.Name(), Key: key}
	return parent, true, parent != self
}

// byLog compares units by their order in the log.
func byLog(a, b *unit) int { return cmp.Compare(a.seq, b.seq) }
