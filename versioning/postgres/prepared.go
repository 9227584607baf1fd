package postgres

import (
	"slices"

	"github.com/pawl-go/pawl/versioning"
)

// prepared is what the store keeps with a record, in Record.Prepared. Records that need
// no more than that share one of the two values of their edition, which nobody changes.
type prepared struct {
	by      *edition   // that has prepared the record; nil: none has
	columns [][]column // by change: Set in the text form of its PostgreSQL type
	split   bool       // the record is in one of several lists
	unfit   bool       // the record's Err is that of its preparation
	kept    *string    // the record's scope, if it was read back from the database
}

var notPrepared = &prepared{}

func preparedOf(r *versioning.Record) *prepared {
	if p, ok := r.Prepared.(*prepared); ok {
		return p
	}
	return notPrepared
}

// own returns what is kept with the record, for the caller to change.
func own(r *versioning.Record) *prepared {
	p := preparedOf(r)
	if p == notPrepared || p.by != nil && (p == p.by.plain || p == p.by.dealt) {
		p = new(*p)
		r.Prepared = p
	}
	return p
}

// setSplit notes whether a prepared record is in one of several lists.
func setSplit(r *versioning.Record, split bool) {
	switch p := preparedOf(r); {
	case p.split == split:
	case p.by != nil && p == p.by.plain:
		r.Prepared = p.by.dealt
	case p.by != nil && p == p.by.dealt:
		r.Prepared = p.by.plain
	default:
		own(r).split = split
	}
}

// keptAs returns a record that was read back from the database, where it has a scope.
func keptAs(r *versioning.Record, scope string) { own(r).kept = &scope }

// setOf returns the columns that a change sets.
func setOf(r *versioning.Record, change int) []column {
	if p := preparedOf(r); p.columns != nil {
		return p.columns[change]
	}
	return nil
}

// setBy returns the columns that a step sets.
func setBy(s *versioning.Step) []column { return setOf(s.Record, s.Change) }

// changesOf returns the changes that are to be judged.
func changesOf(r *versioning.Record) []versioning.Change {
	if r.Err != nil {
		return nil
	}
	return r.Changes
}

// sizeOf returns about how many bytes of memory a record takes, with its columns.
func sizeOf(r *versioning.Record) int {
	n := r.Size()
	for _, columns := range preparedOf(r).columns {
		for _, c := range columns {
			n += len(c.text)
		}
	}
	return n
}

// Prepare makes a record ready for Apply: it does what [versioning.Prepare] does, brings
// keys into the one spelling that equal keys share, and encodes the columns to
// set. A key that is none becomes the record's Err, and so its verdict. Columns that
// can't be written become its Unfit.
// Prepare itself does not fail. It does no I/O and is safe for concurrent use
// on different records.
func (s *Store) Prepare(r *versioning.Record) { s.edition.Load().ready(r) }

// ready makes a record ready for the edition, also one that was ready for another.
func (s *edition) ready(r *versioning.Record) {
	before := preparedOf(r)
	if before.unfit {
		r.Err = nil
	}
	r.Prepared, r.Unfit, r.Digests = s.plain, nil, nil
	if before.kept != nil {
		own(r).kept = before.kept
	}
	if r.Err == nil {
		if r.Err = s.check(r); r.Err != nil {
			own(r).unfit = true
		}
	}
}

// check says what keeps a record from being judged.
func (s *edition) check(r *versioning.Record) error {
	if versioning.Prepare(s.rules, r); r.Err != nil {
		return r.Err
	}
	for i := range r.Changes {
		if err := s.prepare(r, i); err != nil {
			return err
		}
	}
	if size := sizeOf(r); size > versioning.MaxRecordBytes {
		return versioning.Refuse(versioning.ReasonTooLarge, "%d bytes, with the columns to set, are more than %d", size, versioning.MaxRecordBytes)
	}
	return nil
}

// prepare does what the table of a change adds.
func (s *edition) prepare(r *versioning.Record, i int) error {
	c := &r.Changes[i]
	t := s.byMachine[c.Machine]
	key, err := t.canonicalKey(c.Key)
	if err != nil {
		return versioning.Refuse(versioning.ReasonInvalidKey, "table %s: %w", t.Name, err)
	}
	c.Key = key
	if len(c.Set) == 0 {
		return nil
	}
	p := own(r)
	if p.columns == nil {
		p.columns, r.Digests = make([][]column, len(r.Changes)), make([]versioning.Digest, len(r.Changes))
	}
	columns, err := s.types.encode(t, c.Set)
	p.columns[i], r.Digests[i] = columns, s.types.digest(t, c, columns)
	if r.Unfit == nil {
		r.Unfit = err
	}
	return nil
}

// isOfAnother reports whether another edition has prepared the record.
func (s *edition) isOfAnother(r *versioning.Record) bool {
	by := preparedOf(r).by
	return by != nil && by != s
}

// mustSplit reports, once, that records were dealt out to lists by another edition.
func (s *edition) mustSplit(records []*versioning.Record) bool {
	must := slices.ContainsFunc(records, func(r *versioning.Record) bool { return preparedOf(r).split && s.isOfAnother(r) })
	if must {
		for _, r := range records {
			setSplit(r, false)
		}
	}
	return must
}

// renew makes those of records ready that are ready for another edition.
func (s *edition) renew(records []*versioning.Record) {
	for _, r := range records {
		if s.isOfAnother(r) {
			s.ready(r)
		}
	}
}
