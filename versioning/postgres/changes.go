package postgres

import (
	"cmp"
	"encoding/json"
	"fmt"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// storedChange is a Change as JSON, with its columns as text. A worker can apply it
// without decoding the topic's messages.
type storedChange struct {
	Machine   string             `json:"machine"`
	Key       string             `json:"key"`
	Event     string             `json:"event"`
	MessageID string             `json:"message_id"`
	FormerID  string             `json:"former_id,omitempty"`
	Digest    versioning.Digest  `json:"digest,omitempty"`
	Expected  *int64             `json:"expected_version,omitempty"`
	Set       map[string]*string `json:"set,omitempty"`
	Data      json.RawMessage    `json:"data,omitempty"` // see versioning.DataType.Encode
	Armed     int64              `json:"armed_version,omitempty"`
}

// encodeChanges returns the changes of a prepared record.
func (s *snapshot) encodeChanges(r *versioning.Record) string {
	stored := make([]storedChange, len(r.Changes))
	for i := range r.Changes {
		stored[i] = s.encodeChange(r, i)
	}
	return mustJSON(stored)
}

func (s *snapshot) encodeChange(r *versioning.Record, i int) storedChange {
	c := &r.Changes[i]
	stored := storedChange{Machine: c.Machine, Key: c.Key, Event: string(c.Event), MessageID: c.MessageID, FormerID: c.FormerID, Armed: c.Armed}
	if v, ok := c.Expected.Version(); ok {
		stored.Expected = &v
	}
	if columns := setOf(r, i); columns != nil {
		stored.Set, stored.Digest = s.byMachine[c.Machine].textOf(columns), r.Digests[i]
	}
	if i < len(r.Encoded) && r.Encoded[i] != nil {
		stored.Data, stored.Digest = r.Encoded[i], r.Digests[i]
	}
	return stored
}

// change returns the change without its columns and data.
func (c *storedChange) change() versioning.Change {
	change := versioning.Change{
		Machine: c.Machine, Key: c.Key, Event: statemachine.Event(c.Event), MessageID: c.MessageID, FormerID: c.FormerID, Armed: c.Armed,
	}
	if c.Expected != nil {
		change.Expected = versioning.At(*c.Expected)
	}
	return change
}

// columns returns the columns that the change sets.
func (c *storedChange) columns() versioning.Columns {
	set := make(versioning.Columns, len(c.Set))
	for name, text := range c.Set {
		set[name] = nil
		if text != nil {
			set[name] = *text
		}
	}
	return set
}

func (t *table) textOf(columns []column) map[string]*string {
	set := make(map[string]*string, len(columns))
	for _, c := range columns {
		set[t.columns[c.at].name] = nil
		if !c.null {
			set[t.columns[c.at].name] = &c.text
		}
	}
	return set
}

// decodeChanges restores the changes of a parked record. It does not prepare changes of
// machines that this store does not have: the fold leaves them parked.
func (s *snapshot) decodeChanges(r *versioning.Record, data []byte) error {
	var stored []storedChange
	if err := json.Unmarshal(data, &stored); err != nil {
		return fmt.Errorf("stored changes: %w", err)
	}
	r.Changes = make([]versioning.Change, len(stored))
	r.Digests = make([]versioning.Digest, len(stored))
	for i := range stored {
		c := &stored[i]
		r.Changes[i] = c.change()
		if s.byMachine[c.Machine] == nil {
			continue
		}
		r.Changes[i].Set = c.columns()
		rules := s.rules[c.Machine]
		if err := rules.DecodeData(r, i, c.Data); err != nil && r.Unfit == nil {
			r.Unfit = err
		}
		if err := s.prepare(r, i); err != nil && r.Err == nil {
			r.Err = err // the table has changed since; the record's verdict says how
		}
		r.Digests[i] = cmp.Or(c.Digest, r.Digests[i])
	}
	return nil
}

// mustJSON encodes values of this file's types, which can't fail.
func mustJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}
