package postgres

import (
	"slices"

	"github.com/pawl-go/pawl/versioning"
)

// prepared is what the store keeps with a record, in Record.Prepared. Records that need
// nothing else share one of two values of their snapshot, which never change.
type prepared struct {
	by      *snapshot  // the snapshot with which the record was prepared; nil if it was not
	columns [][]column // by change: Set in the text form of its PostgreSQL type
	split   bool       // the record is in one of several lists of Split
	unfit   bool       // the record's Err was set when it was prepared
	kept    *string    // the record's scope, if it was read back from the database
	seq     int64      // its place among the parked records, if it was one of them
	parked  bool       // the current call of Apply has parked the record
	dead    *string    // the scope of the record's dead letter, if the last read found one

	digests []versioning.Digest // of the changes as they were delivered, if the record is a dead letter of that

	redriven *redriven // nil unless an operator redrives the record
}

var notPrepared = &prepared{}

func preparedOf(r *versioning.Record) *prepared {
	if p, ok := r.Prepared.(*prepared); ok {
		return p
	}
	return notPrepared
}

// own returns a prepared value that the caller may change.
func own(r *versioning.Record) *prepared {
	p := preparedOf(r)
	if p == notPrepared || p.by != nil && (p == p.by.plain || p == p.by.plainSplit) {
		p = new(*p)
		r.Prepared = p
	}
	return p
}

// setSplit sets whether a prepared record is in one of several lists.
func setSplit(r *versioning.Record, split bool) {
	switch p := preparedOf(r); {
	case p.split == split:
	case p.by != nil && p == p.by.plain:
		r.Prepared = p.by.plainSplit
	case p.by != nil && p == p.by.plainSplit:
		r.Prepared = p.by.plain
	default:
		own(r).split = split
	}
}

// keptAs marks a record as read from the database, where it has a scope.
func keptAs(r *versioning.Record, scope string) { own(r).kept = &scope }

// isDead reports whether the last read found that the record is a dead letter.
func isDead(r *versioning.Record) bool { return preparedOf(r).dead != nil }

// setOf returns the columns that a change sets.
func setOf(r *versioning.Record, change int) []column {
	if p := preparedOf(r); p.columns != nil {
		return p.columns[change]
	}
	return nil
}

// setBy returns the columns that a step sets: those of its change, and those that the
// machine's functions have computed. Prepare has checked that they are different ones.
func setBy(s *versioning.Step) []column {
	set, computed := setOf(s.Record, s.Change), computedBy(s)
	switch {
	case len(computed) == 0:
		return set
	case len(set) == 0:
		return computed
	}
	all := slices.Concat(set, computed)
	slices.SortFunc(all, byColumn)
	return all
}

// changesOf returns the changes to judge.
func changesOf(r *versioning.Record) []versioning.Change {
	if r.Err != nil {
		return nil
	}
	return r.Changes
}

// sizeOf returns the approximate size of a record in memory, in bytes, with its
// columns and data.
func sizeOf(r *versioning.Record) int {
	n := r.Size()
	for _, data := range r.Encoded {
		n += len(data)
	}
	for _, columns := range preparedOf(r).columns {
		for _, c := range columns {
			n += len(c.text)
		}
	}
	return n
}

// Prepare makes a record ready for Apply. It calls [versioning.Prepare], converts
// keys to the canonical form that equal keys share, and encodes the columns to set. An
// invalid key becomes the record's Err, which rejects the record. Columns that can't be
// written become its Unfit. Prepare does no I/O, does not fail, and is safe for
// concurrent use on different records.
func (s *Store) Prepare(r *versioning.Record) { s.snapshot.Load().ready(r) }

// ready prepares a record for the snapshot, even if it was prepared for another.
func (s *snapshot) ready(r *versioning.Record) {
	before := preparedOf(r)
	if before.unfit {
		r.Err = nil
	}
	r.Prepared, r.Unfit, r.Digests = s.plain, nil, nil
	if before.kept != nil {
		own(r).kept, own(r).digests, own(r).redriven = before.kept, before.digests, before.redriven
	}
	if r.Err == nil {
		if r.Err = s.check(r); r.Err != nil {
			own(r).unfit = true
		}
	}
	if before.digests != nil {
		r.Digests = before.digests
	}
}

// check returns why a record can't be judged.
func (s *snapshot) check(r *versioning.Record) error {
	if versioning.Prepare(s.rules, r); r.Err != nil {
		return r.Err
	}
	for i := range r.Changes {
		if err := s.prepare(r, i); err != nil {
			return err
		}
	}
	if size := sizeOf(r); size > versioning.MaxRecordBytes {
		return versioning.Refuse(versioning.ReasonTooLarge, "the record and the columns it sets have %d bytes; the limit is %d", size, versioning.MaxRecordBytes)
	}
	return nil
}

// prepare does the part of the preparation that depends on the table of a change.
func (s *snapshot) prepare(r *versioning.Record, i int) error {
	c := &r.Changes[i]
	t := s.byMachine[c.Machine]
	key, err := t.canonicalKey(c.Key)
	if err != nil {
		return versioning.Refuse(versioning.ReasonInvalidKey, "table %s: %w", t.Name, err)
	}
	c.Key = key
	hasData := i < len(r.Encoded) && r.Encoded[i] != nil
	if len(c.Set) == 0 && !hasData {
		return nil
	}
	if r.Digests == nil {
		r.Digests = make([]versioning.Digest, len(r.Changes))
	}
	if len(c.Set) == 0 {
		r.Digests[i] = r.Digest(i)
		return nil
	}
	p := own(r)
	if p.columns == nil {
		p.columns = make([][]column, len(r.Changes))
	}
	columns, err := s.types.encode(t, c.Set)
	p.columns[i] = columns
	d := s.types.digest(t, c, columns)
	if hasData {
		d.Data(r.Encoded[i])
	}
	r.Digests[i] = d.Sum()
	if r.Unfit == nil {
		r.Unfit = err
	}
	return nil
}

// isStale reports whether the record was prepared with another snapshot.
func (s *snapshot) isStale(r *versioning.Record) bool {
	by := preparedOf(r).by
	return by != nil && by != s
}

// mustSplit reports, once, whether records were split with another snapshot.
func (s *snapshot) mustSplit(records []*versioning.Record) bool {
	must := slices.ContainsFunc(records, func(r *versioning.Record) bool { return preparedOf(r).split && s.isStale(r) })
	if must {
		for _, r := range records {
			setSplit(r, false)
		}
	}
	return must
}

// reprepare prepares those records again that were prepared with another snapshot.
func (s *snapshot) reprepare(records []*versioning.Record) {
	for _, r := range records {
		if s.isStale(r) {
			s.ready(r)
		}
	}
}
