package versioning

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits of what a message may bring into the columns that are indexed: a
// B-tree entry holds no more than about 2,700 bytes.
const (
	maxKeyBytes       = 1024
	maxMessageIDBytes = 1024
)

// maxChanges bounds the changes of a record.
const maxChanges = 1000

// MaxRecordBytes bounds a record's content, together with the columns that it sets, so
// that nothing that arrives can exhaust the memory.
const MaxRecordBytes = 16 << 20

// ErrText says that a text can't be stored.
var ErrText = errors.New("not valid UTF-8, or holds a NUL byte, which PostgreSQL's text can't")

// Prepare makes a record ready for [Fold]: it fills in the machine and the
// message ID of each change where they are empty, and checks that both, and the
// key, can be stored, and that the record is not too large. What is wrong becomes the record's Err, and so its
// verdict. It does no I/O. A record that was prepared before stays as it is.
//
// A store's Prepare does this, and what a table adds to it.
func Prepare(rules map[string]Rules, r *Record) {
	if r.Err == nil {
		r.Err = checkBounds(r)
	}
	for i := range r.Changes {
		if r.Err != nil {
			return
		}
		r.Err = prepareChange(rules, r, &r.Changes[i])
	}
}

func checkBounds(r *Record) error {
	switch size := r.Size(); {
	case len(r.Changes) > maxChanges:
		return Refuse(ReasonTooLarge, "asks for %d changes, more than %d", len(r.Changes), maxChanges)
	case size > MaxRecordBytes:
		return Refuse(ReasonTooLarge, "%d bytes, with the columns to set, are more than %d", size, MaxRecordBytes)
	}
	return nil
}

func prepareChange(rules map[string]Rules, r *Record, c *Change) error {
	if c.Machine == "" && len(rules) == 1 {
		for only := range rules {
			c.Machine = only
		}
	}
	if _, ok := rules[c.Machine]; !ok {
		return unknownMachine(rules, c.Machine)
	}
	switch {
	case c.Key == "":
		return Refuse(ReasonInvalidKey, "the key is empty")
	case len(c.Key) > maxKeyBytes:
		return Refuse(ReasonInvalidKey, "key of %d bytes, more than %d", len(c.Key), maxKeyBytes)
	case !StorableText(c.Key):
		return Refuse(ReasonInvalidKey, "the key is %w", ErrText)
	}
	if c.MessageID == "" {
		c.MessageID = r.Origin.ID()
	}
	for _, id := range c.MessageIDs() {
		switch {
		case len(id) > maxMessageIDBytes:
			return Refuse(ReasonInvalidMessage, "message ID of %d bytes, more than %d", len(id), maxMessageIDBytes)
		case !StorableText(id):
			return Refuse(ReasonInvalidMessage, "the message ID is %w", ErrText)
		}
	}
	return nil
}

func unknownMachine(rules map[string]Rules, name string) error {
	known := strings.Join(slices.Sorted(maps.Keys(rules)), ", ")
	if name == "" {
		return Refuse(ReasonUnknownMachine, "the change names no machine, and the store has several: %s; set Change.Machine", known)
	}
	return Refuse(ReasonUnknownMachine, "no table of this store holds machine %q; the store has: %s", name, known)
}

// StorableText reports whether PostgreSQL can hold s as text in UTF-8.
func StorableText(s string) bool {
	return strings.IndexByte(s, 0) < 0 && utf8.ValidString(s)
}
