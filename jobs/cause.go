package jobs

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/pawl-go/pawl/internal/uuid8"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A cause is the step that enqueued a job. It travels in the job's metadata, so the args
// stay what the action enqueued.
type cause struct {
	Machine string             `json:"machine"`
	Entity  string             `json:"entity"`
	Version int64              `json:"version"` // of the entity, after the step
	Index   int                `json:"index"`   // of the job among the step's jobs, from 0
	Event   statemachine.Event `json:"event"`

	// Attempts is the number of attempts that may make the call. River's row allows one more:
	// see attempt.settles.
	Attempts int `json:"attempts"`
}

func causeOf(step *postgres.Caused, index int) *cause {
	return &cause{Machine: step.Entity.Machine, Entity: step.Entity.Key, Version: step.Version, Index: index, Event: step.Event}
}

func (c *cause) entity() versioning.Entity {
	return versioning.Entity{Machine: c.Machine, Key: c.Entity}
}

func (c *cause) key() string { return KeyOf(c.Machine, c.Entity, c.Version, c.Index) }

// messageID is the message ID of the changes that the job's result asks for. It does not
// depend on River's job ID, which a restored database may give to another job.
func (c *cause) messageID() string { return "pawl.job/" + c.key() }

// KeyOf returns the key of a job, in the form of a UUID: of the index-th job, counted from
// 0, that an action enqueued in the step after which the entity had that version. An action
// finds the first three in its [statemachine.Firing].
func KeyOf(machine, entity string, version int64, index int) string {
	h := sha256.New()
	for _, part := range []string{"job", machine, entity} {
		h.Write([]byte(strconv.Itoa(len(part)) + ":" + part)) // the length keeps ("a", "bc") and ("ab", "c") apart
	}
	h.Write([]byte(strconv.FormatInt(version, 10) + "/" + strconv.Itoa(index)))
	return uuid8.Of([sha256.Size]byte(h.Sum(nil))).String()
}

// metadataKey is the key of the cause in a job's metadata. Keys that progress uses begin
// with it.
const metadataKey = "pawl"

// withCause adds the cause to the metadata of a job that is to be inserted.
func withCause(metadata []byte, c *cause) ([]byte, error) {
	text, err := json.Marshal(map[string]*cause{metadataKey: c})
	if err != nil || len(metadata) == 0 {
		return text, err
	}
	all := make(map[string]json.RawMessage)
	if err := json.Unmarshal(metadata, &all); err != nil {
		return nil, fmt.Errorf("the job's metadata: %w", err)
	}
	if all == nil {
		return nil, errors.New("the job's metadata must be a JSON object, and is null")
	}
	for name := range all {
		if len(name) >= len(metadataKey) && name[:len(metadataKey)] == metadataKey {
			return nil, fmt.Errorf("the job's metadata has the key %.100q; keys that begin with %q are reserved", name, metadataKey)
		}
	}
	if len(all) == 0 {
		return text, nil
	}
	// Both are objects with something in them, so join their insides.
	metadata = bytes.TrimSpace(metadata)
	return append(append(bytes.Clone(metadata[:len(metadata)-1]), ','), text[1:]...), nil
}
