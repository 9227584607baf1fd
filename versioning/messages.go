package versioning

import "iter"

// MessageIDs is the set of messages that have moved an entity, each with a digest of
// what it asked for. It is usually small. The zero value is an empty set.
type MessageIDs struct {
	few  []Message
	more map[string]Digest // the rest
}

// A Message is a message ID and the digest of what the message asked for.
type Message struct {
	ID     string
	Digest Digest
}

// MessagesOf returns a set of messages. It keeps the slice.
func MessagesOf(messages []Message) MessageIDs { return MessageIDs{few: messages} }

// IsEmpty reports whether the set holds no message.
func (m *MessageIDs) IsEmpty() bool { return len(m.few) == 0 && len(m.more) == 0 }

// manyMessages is the number up to which a linear search is faster than a map.
const manyMessages = 16

// Add adds a message that made a step with the given digest. If a message made several
// steps, the set may keep only one digest.
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

// All returns the messages of the set, in no particular order.
func (m *MessageIDs) All() iter.Seq2[string, Digest] {
	return func(yield func(string, Digest) bool) {
		for i := range m.few {
			if !yield(m.few[i].ID, m.few[i].Digest) {
				return
			}
		}
		for id, digest := range m.more {
			if !yield(id, digest) {
				return
			}
		}
	}
}

// Has reports whether the set contains an ID.
func (m *MessageIDs) Has(id string) bool {
	for i := range m.few {
		if m.few[i].ID == id {
			return true
		}
	}
	_, ok := m.more[id]
	return ok
}

// Asked reports whether the message with an ID made a step with the given digest.
func (m *MessageIDs) Asked(id string, digest Digest) bool {
	for i := range m.few {
		if m.few[i].Digest == digest && m.few[i].ID == id {
			return true
		}
	}
	have, ok := m.more[id]
	return ok && have == digest
}
