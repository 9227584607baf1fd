package versioning

// MessageIDs is a set of messages: those that have moved an entity, each with a digest
// of what it asked for. As a rule they are few. The zero value is an empty one.
type MessageIDs struct {
	few  []Message
	more map[string]Digest // those beyond
}

// A Message is a message ID, and the digest of what its message asked for.
type Message struct {
	ID     string
	Digest Digest
}

// MessagesOf returns the set of some messages, which it keeps.
func MessagesOf(messages []Message) MessageIDs { return MessageIDs{few: messages} }

// IsEmpty reports whether the set holds no message.
func (m *MessageIDs) IsEmpty() bool { return len(m.few) == 0 && len(m.more) == 0 }

// manyMessages is how many are looked through faster than a map.
const manyMessages = 16

// Add adds a message that made a step with the given digest. Of one that made several,
// it may keep one digest only.
func (m *MessageIDs) Add(id string, digest Digest) {
	if len(m.few) < manyMessages {
		m.few = append(m.few, Message{id, digest})
		return
	}
	if m.more == nil {
		m.more = make(map[string]Digest)
	}
	m.more[id] = digest
}

// Has reports whether the set holds an ID.
func (m *MessageIDs) Has(id string) bool {
	for i := range m.few {
		if m.few[i].ID == id {
			return true
		}
	}
	_, ok := m.more[id]
	return ok
}

// Asked reports whether a message with an ID is known to have made a step with a digest.
func (m *MessageIDs) Asked(id string, digest Digest) bool {
	for i := range m.few {
		if m.few[i].Digest == digest && m.few[i].ID == id {
			return true
		}
	}
	have, ok := m.more[id]
	return ok && have == digest
}
