package versioningtest

import (
	"maps"
	"slices"

	"github.com/pawl-go/pawl/versioning"
)

// Row returns an entity's row. ok is false if there is none.
func (m *Memory) Row(e versioning.Entity) (row Row, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	row, ok = m.rows[e]
	row.Columns = maps.Clone(row.Columns)
	return row, ok
}

// Rows returns all rows.
func (m *Memory) Rows() map[versioning.Entity]Row {
	m.mu.Lock()
	defer m.mu.Unlock()
	rows := make(map[versioning.Entity]Row, len(m.rows))
	for e, row := range m.rows {
		row.Columns = maps.Clone(row.Columns)
		rows[e] = row
	}
	return rows
}

// History returns an entity's steps, the first one first.
func (m *Memory) History(e versioning.Entity) []Transition {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.history[e])
}

// Parked returns the parked records, in the order in which they were parked.
func (m *Memory) Parked() []Parked {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Parked
	for _, p := range m.parked {
		all = append(all, Parked{Origin: p.Record.Origin, Entity: p.Entity, Reason: p.Reason, Seen: p.Seen, Definition: p.Definition})
	}
	return all
}

// DeadLetters returns the dead letters, the oldest first.
func (m *Memory) DeadLetters() []DeadLetter {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.dead)
}

// Put creates or replaces an entity's row, like another writer of the table: it writes
// no history.
func (m *Memory) Put(e versioning.Entity, row Row) {
	m.mu.Lock()
	defer m.mu.Unlock()
	row.Columns = maps.Clone(row.Columns)
	m.write(e, row)
}

// Update changes an entity's row in place, like an UPDATE of another writer of the table:
// it writes no history. It reports whether there is a row. change is called with the store
// locked, so it must not call the store.
func (m *Memory) Update(e versioning.Entity, change func(*Row)) (ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	row, ok := m.rows[e]
	if !ok {
		return false
	}
	row.Columns = maps.Clone(row.Columns) // a fold may be reading the old ones
	if row.Columns == nil {
		row.Columns = make(versioning.Columns)
	}
	change(&row)
	m.write(e, row)
	return true
}

// Delete deletes an entity's row. Its history remains.
func (m *Memory) Delete(e versioning.Entity) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.rows, e)
}
