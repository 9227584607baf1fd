package postgres

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// readRows queues the queries that read the rows of entities, and what is parked for them and for
// those that were read before. It queues nothing if there are no entities.
func (r *reader) readRows(batch *pgx.Batch, unseen []*fresh) {
	keys := make([]texts, len(unseen))
	for i, f := range unseen {
		keys[i] = f.keys()
		r.keys[f.table] = append(r.keys[f.table], keys[i]...)
		if r.lock {
			batch.Queue(f.table.lockSQL(), keys[i])
		}
	}
	for i, f := range unseen {
		args := []any{keys[i], f.table.Machine.Name(), f.messages}
		if r.store.hashed {
			hashes, ends := f.hashes()
			f.atOnce = f.table.takeAtOnce()
			args = append(args, hashes, ends, f.atOnce)
		}
		batch.Queue(f.table.readSQL(r.store), args...).Query(func(rows pgx.Rows) error {
			return r.scanRows(rows, f)
		})
	}
	if len(unseen) > 0 {
		r.readParked(batch)
	}
}

// readSQL reads the rows of $1, and for keys without a row the last step in the history
// of machine $2. With $3, each row is repeated for each of its first steps, and once
// more if there are later steps. If the history has hashes, the row comes alone, with those of its
// first steps, unless one of them is among the hashes $4, where $5 says where the ones for a key
// end, or a step has none, or with $6. If the machine has functions, the columns that they take
// follow. It is one statement so that the messages match the row: with older messages, a message
// that has just moved the row would look new.
func (t *table) readSQL(s *snapshot) string {
	hashes, known, needed := "NULL::integer[]", "", "$3"
	if s.hashed {
		hashes, needed = "CASE WHEN first.version IS NULL THEN known.hashes END", neededSQL
		known = fmt.Sprintf(hashesSQL, s.schema.quoted, t.key.sqlName())
	}
	return fmt.Sprintf(`
SELECT u.n, coalesce(t.%[3]s::text, gone.to_state), coalesce(t.%[4]s::bigint, gone.version), t.%[2]s IS NULL,
       first.message_id, first.version, coalesce(first.digest, 0), %[8]s%[7]s
FROM (SELECT pg_catalog.unnest($1::text[]) AS key, generate_subscripts($1::text[], 1) AS n OFFSET 0) AS u
LEFT JOIN %[1]s AS t ON t.%[2]s = u.key::%[5]s
LEFT JOIN LATERAL (
	SELECT h.to_state, h.version FROM %[6]s.transitions AS h
	WHERE t.%[2]s IS NULL AND h.entity = u.key AND h.machine = $2
	ORDER BY h.version DESC LIMIT 1
) AS gone ON true%[9]s
LEFT JOIN LATERAL (
	SELECT h.message_id, h.version, h.digest FROM %[6]s.transitions AS h
	WHERE %[10]s AND (t.%[2]s IS NOT NULL OR gone.version IS NOT NULL) AND h.entity = u.key AND h.machine = $2
	ORDER BY h.version LIMIT 17
) AS first ON true
WHERE t.%[2]s IS NOT NULL OR gone.version IS NOT NULL`,
		t.ident, t.key.sqlName(), t.state.sqlName(), t.version.sqlName(), t.key.cast, s.schema.quoted, t.rows.readSQL(t.fingerprint),
		hashes, known, needed)
}

// lockSQL locks the rows of $1, in that order. It is a separate statement because PostgreSQL
// can't lock rows of the nullable side of an outer join, which readSQL uses.
func (t *table) lockSQL() string {
	return fmt.Sprintf(`
SELECT FROM %[1]s AS t JOIN pg_catalog.unnest($1::text[]) WITH ORDINALITY AS u(key, n) ON t.%[2]s = u.key::%[3]s
ORDER BY u.n FOR UPDATE OF t`, t.ident, t.key.sqlName(), t.key.cast)
}

// A text is a text column as it arrived. It is valid until the next row.
type text []byte

// ScanBytes implements [pgtype.BytesScanner].
func (t *text) ScanBytes(b []byte) error { *t = b; return nil }

// errDisorder says that the rows of one entity were not consecutive.
var errDisorder = errors.New("the rows of an entity are not consecutive")

// scanRows stores the rows, and the messages of their first steps: a row is repeated
// for each of them.
func (r *reader) scanRows(rows pgx.Rows, f *fresh) error {
	t := f.table
	var n int32
	var version int64
	var state, id text
	var step pgtype.Int8
	var digest versioning.Digest
	var gone bool
	messages := messageStore{most: (firstSteps + 1) * len(f.entities)}
	last := int32(0)
	var array hashArray
	hashes := make([]uint32, 0, 4*len(f.entities)) // of all entities, consecutively
	for _, e := range f.entities {
		r.past(e.known).hasFirst = f.messages
	}
	found, needed := 0, 0 // entities, and those of them whose messages came
	into := []any{&n, &state, &version, &gone, &id, &step, (*int64)(&digest), &array}
	data := len(into)
	_, err := pgx.ForEachRow(rows, append(into, t.rows.skip()...), func() error {
		k := f.entities[n-1].known
		switch {
		case n < last:
			return errDisorder
		case n > last:
			last = n
			messages.begin()
			found++
			if step.Valid {
				needed++
			}
			k.Exists, k.Row = !gone, versioning.Row{State: t.stateOf(state), Version: version, Gone: gone}
			if t.rows.hasFields() && !gone {
				k.Row.Data = t.rows.read(rows.RawValues()[data:], rows.FieldDescriptions()[data:])
			}
			if f.messages && len(array) > 0 {
				hashes = r.noteHashes(k, array, hashes)
			}
		}
		if !step.Valid {
			return nil
		}
		made := messages.add(id, digest)
		k.Messages = versioning.MessagesOf(made)
		if step.Int64 > firstSteps {
			r.past(k).hasMore, r.askHistory = true, true
		} else if len(made) > firstSteps { // there were versions below 1
			*r.past(k), r.askHistory = past{hasMore: true}, true
		}
		return nil
	})
	f.noteNeeded(needed, found)
	return err
}

// A messageStore has the messages of many entities in few pieces of memory, which are never
// copied.
type messageStore struct {
	most     int // messages of all entities together
	messages []versioning.Message
	first    int // of the current entity
	ids      strings.Builder
}

// storedTogether is how many messages share a piece of memory, unless they are fewer.
const storedTogether = 1024

// begin begins with the messages of the next entity, which are at most firstSteps + 1.
func (s *messageStore) begin() { s.first = len(s.messages) }

// add adds a message of the current entity, and returns all of its messages so far.
func (s *messageStore) add(id text, digest versioning.Digest) []versioning.Message {
	if s.first == len(s.messages) && cap(s.messages)-len(s.messages) <= firstSteps { // room for all of the entity
		s.messages, s.first = make([]versioning.Message, 0, min(s.most, storedTogether)), 0
	}
	if s.ids.Cap()-s.ids.Len() < len(id) {
		s.ids = strings.Builder{}
		s.ids.Grow(len(id) * min(s.most, storedTogether))
	}
	at := s.ids.Len()
	s.ids.Write(id)
	s.messages = append(s.messages, versioning.Message{ID: s.ids.String()[at:], Digest: digest})
	return s.messages[s.first:len(s.messages):len(s.messages)]
}

// stateOf returns a state by its name.
func (t *table) stateOf(name []byte) statemachine.State {
	if state, ok := t.states[string(name)]; ok { // the lookup does not allocate
		return state
	}
	return statemachine.State(name)
}
