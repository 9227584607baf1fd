package versioning

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits for indexed columns: a B-tree entry holds no more than about 2,700 bytes.
const (
	maxKeyBytes       = 1024
	maxMessageIDBytes = 1024
)

// maxChanges limits the number of changes of a record.
const maxChanges = 1000

// MaxRecordBytes limits the size of a record's content together with the columns that
// it sets, so that no input can exhaust memory.
const MaxRecordBytes = 16 << 20

// ErrText says that PostgreSQL can't store a text.
var ErrText = errors.New("not valid UTF-8, or contains a NUL byte, which PostgreSQL can't store in text")

// Prepare makes a record ready for [Fold]. It fills in the machine and the message ID
// of each change if they are empty, checks that PostgreSQL can store both and the key,
// encodes the data of events, and checks the record's size. If a check fails, Prepare
// sets the record's Err, which rejects the record, or its Unfit if functions can't take
// what the record says. It does no I/O. Preparing a record again changes nothing.
//
// A store's Prepare calls it, then checks what depends on the tables.
func Prepare(rules map[string]Rules, r *Record) {
	r.Unfit, r.Encoded = nil, nil
	if r.Err == nil {
		r.Err = checkBounds(r)
	}
	for i := range r.Changes {
		if r.Err != nil {
			return
		}
		r.Err = prepareChange(rules, r, i)
	}
}

func checkBounds(r *Record) error {
	switch size := r.Size(); {
	case len(r.Changes) > maxChanges:
		return Refuse(ReasonTooLarge, "asks for %d changes; the limit is %d", len(r.Changes), maxChanges)
	case size > MaxRecordBytes:
		return Refuse(ReasonTooLarge, "the record has %d bytes; the limit is %d", size, MaxRecordBytes)
	}
	return nil
}

func prepareChange(rules map[string]Rules, r *Record, i int) error {
	c := &r.Changes[i]
	if c.Machine == "" && len(rules) == 1 {
		for only := range rules {
			c.Machine = only
		}
	}
	rule, ok := rules[c.Machine]
	if !ok {
		return unknownMachine(rules, c.Machine)
	}
	switch {
	case c.Key == "":
		return Refuse(ReasonInvalidKey, "the key is empty")
	case len(c.Key) > maxKeyBytes:
		return Refuse(ReasonInvalidKey, "the key has %d bytes; the limit is %d", len(c.Key), maxKeyBytes)
	case !StorableText(c.Key):
		return Refuse(ReasonInvalidKey, "the key is %w", ErrText)
	}
	if c.MessageID == "" {
		c.MessageID = r.Origin.ID()
	}
	for _, id := range c.MessageIDs() {
		switch {
		case len(id) > maxMessageIDBytes:
			return Refuse(ReasonInvalidMessage, "the message ID has %d bytes; the limit is %d", len(id), maxMessageIDBytes)
		case !StorableText(id):
			return Refuse(ReasonInvalidMessage, "the message ID is %w", ErrText)
		}
	}
	// Data that functions can't take makes the record Unfit only: if it was applied before,
	// it is still a duplicate.
	if err := rule.Functions.prepare(r, i); err != nil && r.Unfit == nil {
		r.Unfit = err
	}
	return nil
}

func unknownMachine(rules map[string]Rules, name string) error {
	known := strings.Join(slices.Sorted(maps.Keys(rules)), ", ")
	if name == "" {
		return Refuse(ReasonUnknownMachine, "the change names no machine, and the store has several: %s; set Change.Machine", known)
	}
	return Refuse(ReasonUnknownMachine, "the store has no table for machine %q; it has tables for: %s", name, known)
}

// StorableText reports whether PostgreSQL can store s as UTF-8 text.
func StorableText(s string) bool {
	return strings.IndexByte(s, 0) < 0 && utf8.ValidString(s)
}
