package postgres

import (
	"cmp"
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
// A hash that is found proves nothing, and neither does a step without one: then the messages are
// read, by the same statement.

// hashOf returns the hash of a message ID: FNV-1a. hash/fnv would allocate, twice for each message.
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

// ask notes that one of the messages of a change may have moved an entity.
func (f *fresh) ask(k *versioning.Known, c *versioning.Change) {
	n := k.Number()
	f.asked = append(f.asked, asked{n, hashOf(c.MessageID)})
	for _, id := range c.MessageIDs() {
		if id != c.MessageID {
			f.asked = append(f.asked, asked{n, hashOf(id)})
		}
	}
}

// hashes returns the hashes of the messages that were asked for, in the order of the entities, and
// where those of each entity end.
func (f *fresh) hashes() (hashes, ends integers) {
	byNumber := func(a, b named) int { return cmp.Compare(a.known.Number(), b.known.Number()) }
	first := slices.MinFunc(f.entities, byNumber).known.Number()
	places := make(integers, slices.MaxFunc(f.entities, byNumber).known.Number()-first+1)
	for i, e := range f.entities {
		places[e.known.Number()-first] = int32(i) + 1
	}
	ends = make(integers, len(f.entities)+1)
	own := f.asked[:0]
	for _, a := range f.asked {
		if at := a.entity - first; at >= 0 && at < len(places) && places[at] > 0 { // otherwise the entity was read before
			ends[places[at]]++
			own = append(own, asked{int(places[at]) - 1, a.hash})
		}
	}
	for i := range f.entities {
		ends[i+1] += ends[i]
	}
	hashes, next := make(integers, len(own)), slices.Clone(ends)
	for _, a := range own {
		hashes[next[a.entity]] = int32(a.hash)
		next[a.entity]++
	}
	return hashes, ends
}

const (
	// hashesSQL takes the schema and the key's column. With versions below 1, the first 17 steps
	// might not include all up to 16; then there is a NULL.
	hashesSQL = `
LEFT JOIN LATERAL (
	SELECT ARRAY(
		SELECT CASE WHEN h.version > 0 THEN h.message_hash END FROM %[1]s.transitions AS h
		WHERE h.entity = u.key AND h.machine = $2 ORDER BY h.version LIMIT 17
	) AS hashes WHERE $3 AND NOT $6 AND (t.%[2]s IS NOT NULL OR gone.version IS NOT NULL)
) AS known ON true`

	neededSQL = `$3 AND ($6 OR array_position(known.hashes, NULL) > 0 OR known.hashes OPERATOR(pg_catalog.&&) ($4::integer[])[($5::integer[])[u.n] + 1 : ($5::integer[])[u.n + 1]])`
)

// replayBatches is how often hashes are looked at while most entities need their messages, as in a
// replay: in one of so many batches. The others read the messages at once.
const replayBatches = 16

// takeAtOnce reports whether the next batch reads messages at once.
func (t *table) takeAtOnce() bool {
	left := t.atOnce.Load()
	return left > 0 && t.atOnce.CompareAndSwap(left, left-1)
}

// noteNeeded decides how the next batches read messages. needed is how many of the entities that
// were found needed them.
func (f *fresh) noteNeeded(needed, found int) {
	const few = 16 // entities say nothing
	if !f.atOnce && found >= few && 2*needed > found {
		f.table.atOnce.Store(replayBatches - 1)
	}
}

// noteHashes notes the hashes of the messages of an entity's first steps, and one more if there
// are later steps. It appends them to hashes.
func (r *reader) noteHashes(k *versioning.Known, array hashArray, hashes []uint32) []uint32 {
	first := len(hashes)
	for _, hash := range array {
		hashes = append(hashes, uint32(hash.Int32))
	}
	had := r.past(k)
	had.hashes = hashes[first:len(hashes):len(hashes)]
	if len(array) > firstSteps {
		had.hasMore, r.askHistory = true, true
	}
	return hashes
}

// mayHave reports whether a change, such as that of a parked record, has a message that may have
// made one of the steps whose hashes were read.
func (p *past) mayHave(c *versioning.Change) bool {
	return p.hashes != nil && slices.ContainsFunc(c.MessageIDs(), func(id string) bool { return slices.Contains(p.hashes, hashOf(id)) })
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
