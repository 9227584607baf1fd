package versioning

import "fmt"

// Prepare makes a record ready for Apply: it fills in the machine and the
// message ID of each change where they are empty, brings keys into the one
// spelling that equal keys share, and encodes the columns to set. What can't be
// written becomes the record's Err, and so its verdict; Prepare itself does not
// fail. It does no I/O and is safe for concurrent use on different records.
func (s *Store) Prepare(r *Record) {
	for i := range r.Changes {
		if r.Err != nil {
			return
		}
		r.Err = s.prepare(r, i)
	}
}

func (s *Store) prepare(r *Record, i int) error {
	c := &r.Changes[i]
	if c.Machine == "" && len(s.tables) == 1 {
		c.Machine = s.tables[0].Machine.Name()
	}
	t, ok := s.byMachine[c.Machine]
	if !ok {
		return refuse(ReasonUnknownMachine, "no table of this store holds machine %q", c.Machine)
	}
	key, err := t.canonicalKey(c.Key)
	if err != nil {
		return &Refusal{ReasonInvalidKey, fmt.Errorf("table %s: %w", t.Name, err)}
	}
	c.Key = key
	if err := defaultMessageID(r, c); err != nil {
		return err
	}
	if len(c.Set) == 0 {
		return nil
	}
	columns, err := s.types.encode(t, c.Set)
	if err != nil {
		return err
	}
	if r.columns == nil {
		r.columns = make([][]column, len(r.Changes))
	}
	r.columns[i] = columns
	return nil
}

func defaultMessageID(r *Record, c *Change) error {
	switch {
	case c.MessageID == "":
		c.MessageID = r.Origin.ID()
	case len(c.MessageID) > maxMessageIDBytes:
		return refuse(ReasonInvalidMessage, "message ID of %d bytes, more than %d", len(c.MessageID), maxMessageIDBytes)
	case !storableText(c.MessageID):
		return refuse(ReasonInvalidMessage, "message ID: %w", errKeyText)
	}
	return nil
}

// set returns the columns that a step sets.
func (s *Step) set() []column {
	if s.Record.columns == nil {
		return nil
	}
	return s.Record.columns[s.Change]
}
