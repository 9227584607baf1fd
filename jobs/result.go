package jobs

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// A result is the result of a call, in a form that can be kept in the job's metadata until
// the entity takes it. Its values are changed to that form before they are used for the first
// time, so that they are the same each time.
type result struct {
	Key     string    `json:"job,omitempty"` // of the job
	Changes []change  `json:"changes"`
	Unknown bool      `json:"unknown,omitempty"` // it is the event of Handler.Unknown
	Early   time.Time `json:"early,omitzero"`    // when it was early for the first time
}

type change struct {
	Machine   string             `json:"machine,omitempty"`
	Key       string             `json:"key,omitempty"`
	Event     statemachine.Event `json:"event"`
	MessageID string             `json:"message_id,omitempty"`
	FormerID  string             `json:"former_id,omitempty"`
	Expected  *int64             `json:"expected,omitempty"`
	Set       map[string]*string `json:"set,omitempty"` // as text; nil is NULL
	Data      json.RawMessage    `json:"data,omitempty"`
}

// newResult returns the result with the given changes. It fails if they have values that
// can't be kept.
func newResult(changes []versioning.Change) (*result, error) {
	r := &result{Changes: make([]change, len(changes))}
	for i := range changes {
		c := &changes[i]
		kept := change{Machine: c.Machine, Key: c.Key, Event: c.Event, MessageID: c.MessageID, FormerID: c.FormerID}
		if version, ok := c.Expected.Version(); ok {
			kept.Expected = &version
		}
		if len(c.Set) > 0 {
			kept.Set = make(map[string]*string, len(c.Set))
		}
		for name, v := range c.Set {
			text, err := textOf(v)
			if err != nil {
				return nil, fmt.Errorf("the column %q that event %q sets: %w", name, c.Event, err)
			}
			kept.Set[name] = text
		}
		if c.Data != nil {
			data, err := json.Marshal(c.Data)
			if err == nil {
				err = storable(data) // the whole is checked below, but that error does not say where
			}
			if err != nil {
				return nil, fmt.Errorf("the data of event %q: %w", c.Event, err)
			}
			kept.Data = data
		}
		r.Changes[i] = kept
	}
	whole, err := json.Marshal(r)
	if err == nil {
		err = storable(whole)
	}
	return r, err
}

// changes returns the changes of the result for the store.
func (r *result) changes(cause *cause) []versioning.Change {
	changes := make([]versioning.Change, len(r.Changes))
	for i := range r.Changes {
		kept := &r.Changes[i]
		c := versioning.Change{Machine: kept.Machine, Key: kept.Key, Event: kept.Event, MessageID: kept.MessageID, FormerID: kept.FormerID}
		c.Machine = cmp.Or(c.Machine, cause.Machine)
		c.Key = cmp.Or(c.Key, cause.Entity)
		c.MessageID = cmp.Or(c.MessageID, cause.messageID())
		if kept.Expected != nil {
			c.Expected = versioning.At(*kept.Expected)
		}
		if len(kept.Set) > 0 {
			c.Set = make(versioning.Columns, len(kept.Set))
		}
		for name, text := range kept.Set {
			if c.Set[name] = nil; text != nil {
				c.Set[name] = *text
			}
		}
		if kept.Data != nil {
			c.Data = kept.Data
		}
		changes[i] = c
	}
	return changes
}
