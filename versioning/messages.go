package versioning

import "slices"

// MessageIDs is a set of message IDs: those that have moved an entity. As a rule
// they are few. The zero value is an empty one.
type MessageIDs struct {
	few  []string
	more map[string]struct{} // those beyond
}

// manyMessages is how many are looked through faster than a map.
const manyMessages = 16

// Add adds an ID.
func (m *MessageIDs) Add(id string) {
	if len(m.few) < manyMessages {
		m.few = append(m.few, id)
		return
	}
	if m.more == nil {
		m.more = make(map[string]struct{})
	}
	m.more[id] = struct{}{}
}

// Has reports whether the set holds an ID.
func (m *MessageIDs) Has(id string) bool {
	if slices.Contains(m.few, id) {
		return true
	}
	_, ok := m.more[id]
	return ok
}
