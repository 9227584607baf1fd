package versioning

import (
	"cmp"
	"errors"
	"fmt"
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

// Limits of a record, so that nothing that arrives can exhaust the memory.
const (
	maxRecordBytes = 16 << 20 // of its content, and of the columns that it sets
	maxChanges     = 1000
)

var errText = errors.New("not valid UTF-8, or holds a NUL byte, which PostgreSQL's text can't")

// Prepare makes a record ready for [Fold]: it fills in the machine and the
// message ID of each change where they are empty, and checks that both, and the
// key, can be stored, and that the record is not too large. What is wrong becomes the record's Err, and so its
// verdict. It does no I/O. A record that was prepared before stays as it is.
//
// [Store.Prepare] does this and what a table adds to it.
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
	switch size := r.size(); {
	case len(r.Changes) > maxChanges:
		return refuse(ReasonTooLarge, "asks for %d changes, more than %d", len(r.Changes), maxChanges)
	case size > maxRecordBytes:
		return refuse(ReasonTooLarge, "%d bytes, with the columns to set, are more than %d", size, maxRecordBytes)
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
		return refuse(ReasonUnknownMachine, "no table of this store holds machine %q", c.Machine)
	}
	switch {
	case c.Key == "":
		return refuse(ReasonInvalidKey, "the key is empty")
	case len(c.Key) > maxKeyBytes:
		return refuse(ReasonInvalidKey, "key of %d bytes, more than %d", len(c.Key), maxKeyBytes)
	case !storableText(c.Key):
		return refuse(ReasonInvalidKey, "the key is %w", errText)
	}
	if c.MessageID == "" {
		c.MessageID = r.Origin.ID()
	}
	for _, id := range c.messageIDs() {
		switch {
		case len(id) > maxMessageIDBytes:
			return refuse(ReasonInvalidMessage, "message ID of %d bytes, more than %d", len(id), maxMessageIDBytes)
		case !storableText(id):
			return refuse(ReasonInvalidMessage, "the message ID is %w", errText)
		}
	}
	return nil
}

// storableText reports whether PostgreSQL can hold s as text in UTF-8.
func storableText(s string) bool {
	return strings.IndexByte(s, 0) < 0 && utf8.ValidString(s)
}

// Prepare makes a record ready for Apply: it does what [Prepare] does, brings
// keys into the one spelling that equal keys share, and encodes the columns to
// set. A key that is none becomes the record's Err, and so its verdict. Columns that
// can't be written are the verdict of a record that would be applied; one that has been
// applied before, when the table was another, is a duplicate all the same.
// Prepare itself does not fail. It does no I/O and is safe for concurrent use
// on different records.
func (s *Store) Prepare(r *Record) { s.edition.Load().ready(r) }

// ready makes a record ready for the edition, also one that was ready for another.
func (s *edition) ready(r *Record) {
	if r.unfit {
		r.Err = nil
	}
	if r.readyFor != s && r.readyFor != nil {
		r.encoded = nil
	}
	r.readyFor, r.unfit, r.misfit = s, false, nil
	if r.Err == nil {
		r.Err = s.check(r)
		r.unfit = r.Err != nil
	}
}

// check says what keeps a record from being written.
func (s *edition) check(r *Record) error {
	if Prepare(s.rules, r); r.Err != nil {
		return r.Err
	}
	for i := range r.Changes {
		if err := s.prepare(r, i); err != nil {
			return err
		}
	}
	return checkBounds(r) // with the columns
}

// mustSplit reports, once, that records were dealt out to lists by another edition.
func (s *edition) mustSplit(records []*Record) bool {
	must := slices.ContainsFunc(records, func(r *Record) bool { return r.split && r.readyFor != s && r.readyFor != nil })
	for _, r := range records {
		r.split = r.split && !must
	}
	return must
}

// renew makes those of records ready that are ready for another edition.
func (s *edition) renew(records []*Record) {
	for _, r := range records {
		if r.readyFor != s && r.readyFor != nil {
			s.ready(r)
		}
	}
}

// prepare does what the table of a change adds.
func (s *edition) prepare(r *Record, i int) error {
	c := &r.Changes[i]
	t := s.byMachine[c.Machine]
	key, err := t.canonicalKey(c.Key)
	if err != nil {
		return &Refusal{ReasonInvalidKey, fmt.Errorf("table %s: %w", t.Name, err)}
	}
	c.Key = key
	if len(c.Set) == 0 {
		return nil
	}
	if r.encoded == nil {
		r.encoded = make([]encoded, len(r.Changes))
	}
	columns, err := s.types.encode(t, c.Set)
	r.encoded[i] = encoded{columns, s.types.digest(t, c, columns)}
	r.misfit = cmp.Or(r.misfit, err)
	return nil
}

// set returns the columns that a step sets.
func (s *Step) set() []column { return s.Record.set(s.Change) }
