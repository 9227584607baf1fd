package postgres

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pawl-go/pawl/versioning"
)

// This file is about hashes of message IDs. The history's primary key includes them, so that a
// store can see that a message is new without reading the steps of its entity. That matters once
// the history is larger than memory.
//
// A hash that is found proves nothing: then the messages are read. So do hashes that are NULL.

// hashOf returns the hash of a message ID: FNV-1a.
func hashOf(id string) uint32 {
	hash := uint32(2166136261)
	for i := range len(id) {
		hash = (hash ^ uint32(id[i])) * 16777619
	}
	return hash
}

// hashesOf returns the hashes of message IDs as they are stored.
func hashesOf(ids texts) integers {
	hashes := make(integers, len(ids))
	for i, id := range ids {
		hashes[i] = int32(hashOf(id))
	}
	return hashes
}

// needsFirst reports whether the messages of an entity's first steps must be read for a change.
func (r *reader) needsFirst(had *past, c *versioning.Change) bool {
	switch {
	case had.hasFirst:
		return false
	case !had.hasHashes:
		return true
	}
	found := slices.ContainsFunc(c.MessageIDs(), func(id string) bool { return slices.Contains(had.hashes, hashOf(id)) })
	if found {
		r.found++
	}
	return found
}

// noteHashes notes the hashes of the messages of an entity's first steps, and one more if there
// are later steps. It appends them to hashes.
func (r *reader) noteHashes(k *versioning.Known, array hashArray, hashes []uint32) []uint32 {
	first := len(hashes)
	r.askHistory = true
	r.hashed++
	hashes, all := array.appendTo(hashes)
	if !all {
		r.found++ // they may be anything
	}
	*r.past(k) = past{hasHashes: all, hasMore: len(array) > firstSteps, hashes: hashes[first:len(hashes):len(hashes)]}
	return hashes
}

// noteRepeats decides what the next batches read. While most messages are repetitions, as in a
// replay, the messages themselves are needed.
func (r *reader) noteRepeats(records []*versioning.Record) {
	if r.hashed > 0 {
		if 4*r.found > r.hashed {
			r.store.repeating.Store(true)
		}
		return
	}
	if !r.store.repeating.Load() {
		return
	}
	changes, repeated := 0, 0
	for _, rec := range records {
		for i := range changesOf(rec) {
			k := r.known[changes]
			if changes++; k != nil && slices.ContainsFunc(rec.Changes[i].MessageIDs(), k.Messages.Has) {
				repeated++
			}
		}
	}
	if 8*repeated < changes {
		r.store.repeating.Store(false)
	}
}

// isHashed reports whether the history's primary key includes the hashes of messages.
func (s *schema) isHashed(ctx context.Context, conn interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
},
) (hashed bool, err error) {
	err = conn.QueryRow(ctx, isHashedSQL, oneMessage, s.quoted+".transitions").Scan(&hashed)
	return hashed, err
}

const isHashedSQL = `
SELECT EXISTS (
	SELECT FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
	WHERE i.indrelid = to_regclass($1) AND i.indisprimary AND a.attname = 'message_hash'
)`

// hashArray scans an array of hashes. It is used again for the next row.
type hashArray []pgtype.Int4

// SetDimensions implements [pgtype.ArraySetter].
func (a *hashArray) SetDimensions(dimensions []pgtype.ArrayDimension) error {
	n := 0
	if len(dimensions) > 0 {
		n = int(dimensions[0].Length)
	}
	*a = slices.Grow((*a)[:0], n)[:n]
	return nil
}

// ScanIndex implements [pgtype.ArraySetter].
func (a *hashArray) ScanIndex(i int) any { return &(*a)[i] }

// ScanIndexType implements [pgtype.ArraySetter].
func (a *hashArray) ScanIndexType() any { return new(pgtype.Int4) }

// appendTo appends the hashes, and reports whether there are all.
func (a *hashArray) appendTo(hashes []uint32) (_ []uint32, all bool) {
	for _, hash := range *a {
		if !hash.Valid {
			return hashes, false
		}
		hashes = append(hashes, uint32(hash.Int32))
	}
	return hashes, true
}
