package consumer

import (
	"encoding/json"
	"errors"
	"fmt"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/pawl-go/pawl/internal/jsonvalue"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// Message is the JSON format of [DecodeMessage]: a message that names its change.
type Message struct {
	Machine string             `json:"machine,omitempty"` // empty: the store's only machine
	Key     string             `json:"key"`
	Event   statemachine.Event `json:"event"`
	ID      string             `json:"id,omitempty"` // empty: that of the record's headers, or its origin

	// ExpectedVersion is the version that the message expects its entity to have. nil
	// means any.
	ExpectedVersion *int64 `json:"expected_version,omitempty"`

	// Set holds columns to write with the transition: strings as they are, null as
	// NULL, and any other value as its JSON text. Numbers keep all their digits.
	Set map[string]json.RawMessage `json:"set,omitempty"`

	// Data is the event's data, for machines with functions. It is decoded into the type
	// that the functions of the event take; data that does not fit it is Rejected with
	// the reason invalid_data. Fields that the type does not have are ignored.
	Data json.RawMessage `json:"data,omitempty"`
}

var messages = jsonvalue.For[Message]()

// DecodeMessage is a DecodeFunc for records whose values are a [Message].
func DecodeMessage(r *versioning.Record) ([]versioning.Change, error) {
	m, err := messages.Decode(r.Value)
	if err != nil {
		return nil, err
	}
	change, err := m.change()
	if err != nil {
		return nil, err
	}
	return []versioning.Change{change}, nil
}

func (m *Message) change() (versioning.Change, error) {
	change := versioning.Change{Machine: m.Machine, Key: m.Key, Event: m.Event, MessageID: m.ID}
	if m.Key == "" || m.Event == "" {
		return change, errors.New(`message has no "key" or no "event"; it needs both`)
	}
	if m.ExpectedVersion != nil {
		if *m.ExpectedVersion < 0 {
			return change, fmt.Errorf(`"expected_version" is %d, less than 0`, *m.ExpectedVersion)
		}
		change.Expected = versioning.At(*m.ExpectedVersion)
	}
	if len(m.Set) > 0 {
		change.Set = make(versioning.Columns, len(m.Set))
	}
	if m.Data != nil {
		change.Data = m.Data
	}
	for name, raw := range m.Set {
		change.Set[name] = columnValue(raw)
	}
	return change, nil
}

// columnValue converts a JSON value to the text that PostgreSQL parses, or nil for NULL.
func columnValue(raw json.RawMessage) any {
	var s *string
	if err := jsonv2.Unmarshal(raw, &s, jsonvalue.LikeStandard); err != nil {
		return string(raw) // a number, a boolean, an object or an array
	}
	if s == nil {
		return nil
	}
	return *s
}
