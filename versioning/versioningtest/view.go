package versioningtest

import (
	"github.com/pawl-go/pawl/versioning"
)

// view returns what a fold of the records needs to know: their entities, the
// records parked for these, the entities of those, and so on.
func (m *Memory) view(records []*versioning.Record) *versioning.View {
	v := m.viewOf(entitiesOf(records)...)
	for _, r := range records {
		if i, ok := m.deadAt[r.Origin]; ok {
			v.Dead[r.Origin] = m.dead[i].Outcome
		}
	}
	return v
}

func (m *Memory) viewOf(next ...versioning.Entity) *versioning.View {
	v := &versioning.View{
		Rows:     make(map[versioning.Entity]versioning.Row),
		Messages: make(map[versioning.MessageAt]struct{}),
		Steps:    make(map[versioning.StepAt]versioning.PastStep),
		Dead:     make(map[versioning.Origin]versioning.Outcome),
	}
	seen := make(map[versioning.Entity]bool)
	for len(next) > 0 {
		e := next[0]
		next = next[1:]
		if seen[e] {
			continue
		}
		seen[e] = true
		m.look(v, e)
		for _, p := range m.parked {
			if p.Entity == e {
				next = append(next, entitiesOf([]*versioning.Record{p.Record})...)
			}
		}
	}
	for _, p := range m.parked {
		if seen[p.Entity] {
			v.Parked = append(v.Parked, p)
		}
	}
	return v
}

func entitiesOf(records []*versioning.Record) (entities []versioning.Entity) {
	for _, r := range records {
		if r.Err != nil {
			continue // it will be rejected, whatever its entities are like
		}
		for i := range r.Changes {
			entities = append(entities, versioning.Entity{Machine: r.Changes[i].Machine, Key: r.Changes[i].Key})
		}
	}
	return entities
}

// look adds an entity and its past to a view.
func (m *Memory) look(v *versioning.View, e versioning.Entity) {
	history := m.history[e]
	if row, ok := m.rows[e]; ok {
		v.Rows[e] = versioning.Row{State: row.State, Version: row.Version}
	} else if len(history) > 0 {
		last := history[len(history)-1]
		v.Rows[e] = versioning.Row{State: last.To, Version: last.Version, Gone: true}
	}
	for _, t := range history {
		v.Messages[versioning.MessageAt{Entity: e, MessageID: t.MessageID}] = struct{}{}
		step := versioning.PastStep{Event: t.Event}
		if t.MessageID != t.Origin.ID() {
			step.MessageID = t.MessageID
		}
		v.Steps[versioning.StepAt{Entity: e, Version: t.Version}] = step
	}
}
