package versioningtest

import (
	"github.com/pawl-go/pawl/versioning"
)

// view returns what a fold of the records needs: their entities, the records parked for
// these, the entities of those records, and so on.
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
		Entities: make(map[versioning.Entity]*versioning.Known),
		Dead:     make(map[versioning.Origin]versioning.Outcome),
	}
	for len(next) > 0 {
		e := next[0]
		next = next[1:]
		if v.Entities[e] != nil {
			continue
		}
		v.Entities[e] = m.look(e)
		for _, p := range m.parked {
			if p.Entity == e {
				next = append(next, entitiesOf([]*versioning.Record{p.Record})...)
			}
		}
	}
	for _, p := range m.parked {
		if v.Entities[p.Entity] != nil {
			v.Parked = append(v.Parked, p)
		}
	}
	return v
}

func entitiesOf(records []*versioning.Record) (entities []versioning.Entity) {
	for _, r := range records {
		if r.Err != nil {
			continue // it will be rejected whatever the state of its entities
		}
		for i := range r.Changes {
			entities = append(entities, versioning.Entity{Machine: r.Changes[i].Machine, Key: r.Changes[i].Key})
		}
	}
	return entities
}

// look returns what is known about an entity and its history.
func (m *Memory) look(e versioning.Entity) *versioning.Known {
	k := &versioning.Known{Steps: make(map[int64]versioning.PastStep), ByMessage: make(map[string][]versioning.PastStep)}
	history := m.history[e]
	if row, ok := m.rows[e]; ok {
		k.Exists, k.Row = true, versioning.Row{State: row.State, Version: row.Version}
		if m.codecs[e.Machine] != nil {
			k.Row.Data = &rowData{row.Columns, m.written[e]}
		}
	} else if len(history) > 0 {
		last := history[len(history)-1]
		k.Row = versioning.Row{State: last.To, Version: last.Version, Gone: true}
	}
	for i, t := range history {
		step := versioning.PastStep{Event: t.Event, MessageID: t.MessageID, Origin: t.Origin, Digest: m.digests[e][i]}
		k.Messages.Add(t.MessageID, step.Digest)
		k.Steps[t.Version] = step
		k.ByMessage[t.MessageID] = append(k.ByMessage[t.MessageID], step)
	}
	m.lookAtTimers(e, k)
	return k
}
