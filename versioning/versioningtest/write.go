package versioningtest

import (
	"maps"
	"slices"

	"github.com/pawl-go/pawl/versioning"
)

// unmoved reports whether the guards of a plan hold: each row that it moves is as it
// was when the plan was made, and nobody else has settled its records. PostgreSQL
// checks this by the number of rows that the guarded statements return.
func (m *Memory) unmoved(plan *versioning.Plan) bool {
	for i := range plan.Moves {
		move := &plan.Moves[i]
		row, exists := m.rows[move.Entity]
		if exists == move.Create || exists && (row.State != move.From.State || row.Version != move.From.Version) {
			return false
		}
		if read, ok := move.From.Data.(*rowData); ok && read.written != m.written[move.Entity] {
			return false // somebody has written the row, if only another column
		}
	}
	return m.undecided(plan)
}

// undecided reports whether nobody else has settled the records that a plan parks,
// applies, releases or makes dead letters.
func (m *Memory) undecided(plan *versioning.Plan) bool {
	revived := make(map[versioning.Origin]bool)
	for _, s := range plan.Revive {
		if revived[s.Record.Origin] = true; !m.isDead(s.Record) {
			return false
		}
	}
	dead := func(r *versioning.Record) bool { return m.isDead(r) && !revived[r.Origin] }
	for _, p := range plan.Park {
		if dead(p.Record) {
			return false
		}
	}
	for i := range plan.Moves {
		if slices.ContainsFunc(plan.Moves[i].Steps, func(s versioning.Step) bool { return dead(s.Record) }) {
			return false
		}
	}
	for _, s := range plan.Release {
		if m.parkedAt(s.Record.Origin) < 0 {
			return false
		}
	}
	return !slices.ContainsFunc(plan.Dead, m.hasApplied)
}

func (m *Memory) isDead(r *versioning.Record) bool {
	_, dead := m.deadAt[r.Origin]
	return dead
}

// hasApplied reports whether a record has made a step.
func (m *Memory) hasApplied(s versioning.Settled) bool {
	for _, e := range entitiesOf([]*versioning.Record{s.Record}) {
		if slices.ContainsFunc(m.history[e], func(t Transition) bool { return t.Origin == s.Record.Origin }) {
			return true
		}
	}
	return false
}

// commit writes a plan. It leaves alone what others have parked, released or made a
// dead letter since the plan was made.
func (m *Memory) commit(plan *versioning.Plan) {
	emitted := len(m.messages)
	for i := range plan.Moves {
		m.move(&plan.Moves[i])
	}
	m.pack(m.messages[emitted:])
	for _, p := range plan.Park {
		if m.parkedAt(p.Record.Origin) < 0 {
			p.Record = clone(p.Record)
			m.parked = append(m.parked, p)
		}
	}
	for _, p := range plan.Repark {
		if i := m.parkedAt(p.Record.Origin); i >= 0 {
			m.parked[i] = p
		}
	}
	for _, s := range plan.Release {
		m.unpark(s.Record.Origin)
	}
	for _, s := range plan.Dead {
		m.unpark(s.Record.Origin)
		m.addDead(s)
	}
	for _, s := range plan.Revive {
		m.removeDead(s.Record.Origin)
	}
}

// addDead stores a dead letter. An existing one keeps its reason, unless the record
// could not be decoded before and can be now.
func (m *Memory) addDead(s versioning.Settled) {
	at, known := m.deadAt[s.Record.Origin]
	switch {
	case !known:
		m.deadAt[s.Record.Origin] = len(m.dead)
		m.dead = append(m.dead, deadLetter(s))
	case m.dead[at].Outcome.Reason == versioning.ReasonUndecodable && s.Record.Err == nil:
		m.dead[at].Outcome = s.Outcome
	}
}

// removeDead removes a dead letter.
func (m *Memory) removeDead(o versioning.Origin) {
	at, ok := m.deadAt[o]
	if !ok {
		return
	}
	m.dead = slices.Delete(m.dead, at, at+1)
	clear(m.deadAt)
	for i, d := range m.dead {
		m.deadAt[d.Origin] = i
	}
}

func (m *Memory) move(move *versioning.Move) {
	row := m.rows[move.Entity]
	row.Columns = maps.Clone(row.Columns)
	for i := range move.Steps {
		step := &move.Steps[i]
		change := &step.Record.Changes[step.Change]
		m.history[move.Entity] = append(m.history[move.Entity], Transition{
			Version: step.Version, Event: step.Event, From: step.From, To: step.To,
			MessageID: change.MessageID, Origin: step.Record.Origin,
			Definition: m.rules[move.Entity.Machine].Machine.Version(),
		})
		m.digests[move.Entity] = append(m.digests[move.Entity], step.Digest())
		for name, value := range change.Set {
			if row.Columns == nil {
				row.Columns = make(versioning.Columns)
			}
			row.Columns[name] = value
		}
		if step.Data != nil {
			if row.Columns == nil {
				row.Columns = make(versioning.Columns)
			}
			m.codecs[move.Entity.Machine].compute(row.Columns, step)
		}
	}
	row.State, row.Version = move.To()
	m.write(move.Entity, row)
	m.cause(move)
}

// write stores a row.
func (m *Memory) write(e versioning.Entity, row Row) {
	m.writes++
	m.rows[e], m.written[e] = row, m.writes
}

func (m *Memory) parkedAt(o versioning.Origin) int {
	return slices.IndexFunc(m.parked, func(p versioning.Parked) bool { return p.Record.Origin == o })
}

func (m *Memory) unpark(o versioning.Origin) {
	if i := m.parkedAt(o); i >= 0 {
		m.parked = slices.Delete(m.parked, i, i+1)
	}
}

// clone copies what the caller may change later.
func clone(r *versioning.Record) *versioning.Record {
	c := *r
	c.Changes = slices.Clone(r.Changes)
	return &c
}

func deadLetter(s versioning.Settled) DeadLetter {
	r := s.Record
	return DeadLetter{
		Origin: r.Origin, Key: r.Key, Value: r.Value, Headers: r.Headers,
		Timestamp: r.Timestamp.UnixMilli(), Outcome: s.Outcome,
	}
}
