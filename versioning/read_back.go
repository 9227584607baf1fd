package versioning

import "slices"

// This file is about rows that have values which only the database knows after a step: see
// RowCodec.ReadsBack. The fold stops before it would judge anything on such a row.

// touchesStale reports whether a record is about an entity that is stale.
func (f *folder) touchesStale(r *Record) bool {
	return f.readsBack && slices.ContainsFunc(r.Changes, func(c Change) bool {
		e := f.entity(Entity{c.Machine, c.Key})
		return e != nil && e.isStale()
	})
}

// isStale reports whether the entity has moved in this fold, and its row has values that
// only the database knows now.
func (e *entity) isStale() bool {
	return len(e.steps) > 0 && e.rules.Functions != nil && e.rules.Functions.rows.ReadsBack(!e.Exists, e.data)
}

// readBack leaves the records that wait for an entity to the next fold, which gets the
// rows as the database has them then.
func (f *folder) readBack(e *entity) {
	if len(e.waiting) > 0 && !slices.Contains(f.plan.Again, e.name) {
		f.plan.Again = append(f.plan.Again, e.name)
	}
}
