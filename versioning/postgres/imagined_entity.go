package postgres

import (
	"slices"

	"github.com/pawl-go/pawl/versioning"
)

// An imaginedEntity is an entity that has moved.
type imaginedEntity struct {
	row   versioning.Row
	first int64 // the version after the first of steps
	steps []versioning.PastStep
}

// add makes what is known about an entity what it has become, unless the database has caught
// up.
func (e *imaginedEntity) add(k *versioning.Known) {
	if len(e.steps) == 0 || k.Exists && k.Row.Version >= e.row.Version {
		*e = imaginedEntity{}
		return
	}
	k.Row, k.Exists = e.row, true
	for _, s := range e.steps {
		k.Messages.Add(s.MessageID, s.Digest)
	}
}

// addAsked adds the steps that a change asks about.
func (e *imaginedEntity) addAsked(k *versioning.Known, r *versioning.Record, change int) {
	c := &r.Changes[change]
	if expected, versioned := c.Expected.Version(); versioned && expected+1 >= e.first && expected < e.row.Version {
		if k.Steps == nil {
			k.Steps = make(map[int64]versioning.PastStep)
		}
		k.Steps[expected+1] = e.steps[expected+1-e.first]
	}
	for _, id := range c.MessageIDs() {
		if !k.Messages.Has(id) || k.Messages.Asked(id, r.Digest(change)) {
			continue
		}
		for _, s := range e.steps {
			if s.MessageID != id || slices.Contains(k.ByMessage[id], s) {
				continue
			}
			if k.ByMessage == nil {
				k.ByMessage = make(map[string][]versioning.PastStep)
			}
			k.ByMessage[id] = append(k.ByMessage[id], s)
		}
	}
}
