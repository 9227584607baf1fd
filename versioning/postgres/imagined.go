package postgres

import (
	"cmp"
	"math"
	"slices"

	"github.com/pawl-go/pawl/versioning"
)

// imagined is what a [Rehearsal] has changed. Of dead letters it has only those of records that were
// parked, because they may come again: every other record is judged once.
type imagined struct {
	young    map[versioning.Entity]*imaginedEntity     // those that were used lately
	old      map[versioning.Entity]*imaginedEntity     // those that were used before that
	spill    spill                                     // the others
	changed  int                                       // how many entities have moved
	most     int                                       // how many are young, at most
	waiting  map[versioning.Entity][]versioning.Parked // those that were judged, in the order in which they were parked
	places   map[versioning.Origin]place               // of those
	released map[versioning.Origin]bool                // those that are settled
	dead     map[versioning.Origin]versioning.Outcome  // of these, what became a dead letter
	failed   error                                     // why entities could not be moved to the file
	parked   int64                                     // how many records were parked
}

// A place is where a parked record waits.
type place struct {
	on versioning.Entity
	n  int64 // numbers the records in the order in which they were parked; pawl.parked.seq if the database has parked it
}

// firstPlace comes after all records that the database has parked.
const firstPlace = math.MaxInt64 / 2

func newImagined() imagined {
	return imagined{
		most:     maxYoung,
		young:    make(map[versioning.Entity]*imaginedEntity),
		waiting:  make(map[versioning.Entity][]versioning.Parked),
		places:   make(map[versioning.Origin]place),
		released: make(map[versioning.Origin]bool),
		dead:     make(map[versioning.Origin]versioning.Outcome),
	}
}

// ties returns the entities that parked records tie together.
func (m *imagined) ties() (ties [][]versioning.Entity) {
	for _, parked := range m.waiting {
		for _, p := range parked {
			if len(p.Record.Changes) > 1 {
				ties = append(ties, entitiesOf(p.Record))
			}
		}
	}
	return ties
}

func entitiesOf(r *versioning.Record) []versioning.Entity {
	all := make([]versioning.Entity, 0, len(r.Changes))
	for i := range changesOf(r) {
		all = append(all, r.Entity(i))
	}
	return all
}

// waitingFor returns the records that are parked for the entities of records, for the entities of
// those, and so on.
func (m *imagined) waitingFor(records []*versioning.Record) (found []*versioning.Record) {
	if len(m.places) == 0 {
		return nil
	}
	seen := make(map[versioning.Entity]bool)
	for next := slices.Clone(records); len(next) > 0; next = next[1:] {
		for _, e := range entitiesOf(next[0]) {
			if seen[e] {
				continue
			}
			seen[e] = true
			for _, p := range m.waiting[e] {
				found, next = append(found, p.Record), append(next, p.Record)
			}
		}
	}
	return found
}

// uncovered returns the records that wait for an entity of a view, and are about others that
// were not read.
func (m *imagined) uncovered(view *versioning.View) (found []*versioning.Record) {
	if len(m.places) == 0 {
		return nil
	}
	for e := range view.Entities {
		for _, p := range m.waiting[e] {
			if !covers(view, p.Record) {
				found = append(found, p.Record)
			}
		}
	}
	return found
}

// add adds to a view what has been changed.
func (m *imagined) add(view *versioning.View, records []*versioning.Record) error {
	if m.changed+len(m.places)+len(m.released) == 0 {
		return nil
	}
	for e, k := range view.Entities {
		moved, err := m.entity(e)
		if err != nil {
			return err
		}
		if moved != nil {
			moved.add(k)
		}
	}
	for _, r := range records {
		if o, ok := m.dead[r.Origin]; ok {
			view.Dead[r.Origin] = o
		}
		for i := range changesOf(r) {
			if moved := m.young[r.Entity(i)]; moved != nil {
				moved.addAsked(view.Entities[r.Entity(i)], r, i)
			}
		}
	}
	m.addParked(view)
	return nil
}

// addParked makes the parked records of a view what they have become.
func (m *imagined) addParked(view *versioning.View) {
	view.Parked = slices.DeleteFunc(view.Parked, func(p versioning.Parked) bool {
		_, ours := m.places[p.Record.Origin]
		return ours || m.released[p.Record.Origin]
	})
	if len(m.places) == 0 {
		return
	}
	for e := range view.Entities {
		for _, p := range m.waiting[e] {
			if covers(view, p.Record) {
				view.Parked = append(view.Parked, p)
			}
		}
	}
	slices.SortFunc(view.Parked, m.byPlace)
}

// maxYoung limits the entities of a generation. There are two in memory, of about a kilobyte
// each.
const maxYoung = 1 << 14

// entity returns an entity that has moved, or nil, and makes it young.
func (m *imagined) entity(name versioning.Entity) (*imaginedEntity, error) {
	e, ok := m.young[name]
	if ok || m.changed == 0 {
		return e, nil
	}
	if e, ok = m.old[name]; ok {
		delete(m.old, name)
	} else {
		var err error
		if e, err = m.spill.get(name); err != nil || e == nil {
			return nil, err
		}
	}
	m.young[name] = e
	return e, nil
}

// age makes the young entities old, and moves the old ones to the file, if there are many.
func (m *imagined) age(rows func(machine string) *rowType) error {
	if len(m.young) < m.most {
		return nil
	}
	if m.failed = m.spill.put(m.old, rows); m.failed != nil {
		return m.failed
	}
	m.old, m.young = m.young, make(map[versioning.Entity]*imaginedEntity)
	return nil
}

// commit remembers what a plan, made from a view, would write.
func (m *imagined) commit(view *versioning.View, plan *versioning.Plan) error {
	for i := range plan.Moves {
		if err := m.move(&plan.Moves[i]); err != nil {
			return err
		}
	}
	for _, p := range slices.Concat(plan.Park, plan.Repark) {
		m.park(p)
	}
	wasParked := make(map[versioning.Origin]bool, len(view.Parked))
	for _, p := range view.Parked {
		wasParked[p.Record.Origin] = true
	}
	for _, s := range plan.Dead {
		if _, ours := m.places[s.Record.Origin]; ours || wasParked[s.Record.Origin] {
			m.dead[s.Record.Origin] = s.Outcome
		}
	}
	for _, s := range slices.Concat(plan.Release, plan.Dead) {
		if _, ours := m.places[s.Record.Origin]; ours {
			m.leave(s.Record.Origin)
			delete(m.places, s.Record.Origin)
			m.released[s.Record.Origin] = true // a worker may park it later, when it gets there
		} else if wasParked[s.Record.Origin] {
			m.released[s.Record.Origin] = true
		}
	}
	return nil
}

func (m *imagined) move(move *versioning.Move) error {
	e, err := m.entity(move.Entity) // another goroutine may have made it old since add
	if err != nil {
		return err
	}
	if e == nil {
		e = &imaginedEntity{}
		m.young[move.Entity] = e
		m.changed++
	}
	if len(e.steps) == 0 {
		e.row, e.first = move.From, move.Steps[0].Version
	}
	for i := range move.Steps {
		s := &move.Steps[i]
		e.steps = append(e.steps, versioning.PastStep{
			Event: s.Event, MessageID: s.Record.Changes[s.Change].MessageID, Origin: s.Record.Origin, Digest: s.Digest(),
		})
		if s.Data != nil {
			e.row.Data = s.Data.After
		}
	}
	e.row.State, e.row.Version = move.To()
	e.row.Gone = false
	return nil
}

// park remembers a parked record. A record that is parked again keeps its number.
func (m *imagined) park(p versioning.Parked) {
	n := m.place(p.Record)
	if _, isAgain := m.places[p.Record.Origin]; isAgain {
		m.leave(p.Record.Origin)
	} else {
		kept := *p.Record // the original belongs to a batch, and keeps all of it in memory
		kept.Key, kept.Value, kept.Headers = nil, nil, nil
		p.Record = &kept
		if n == 0 {
			m.parked++
			n = firstPlace + m.parked
		}
	}
	m.places[p.Record.Origin] = place{p.Entity, n}
	m.waiting[p.Entity] = append(m.waiting[p.Entity], p)
	slices.SortFunc(m.waiting[p.Entity], m.byPlace)
}

// place returns the number of a parked record; 0 if it has none yet.
func (m *imagined) place(r *versioning.Record) int64 {
	if at, ok := m.places[r.Origin]; ok {
		return at.n
	}
	return preparedOf(r).seq
}

func (m *imagined) byPlace(a, b versioning.Parked) int {
	return cmp.Compare(m.place(a.Record), m.place(b.Record))
}

// leave removes a parked record from those that wait for its entity.
func (m *imagined) leave(at versioning.Origin) {
	on := m.places[at].on
	m.waiting[on] = slices.DeleteFunc(m.waiting[on], func(p versioning.Parked) bool { return p.Record.Origin == at })
	if len(m.waiting[on]) == 0 {
		delete(m.waiting, on)
	}
}
