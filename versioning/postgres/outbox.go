package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// Emits reports whether the store has an outbox for a relay: one of its machines has functions,
// and Table.Outbox is Packed. It also does if that was so before, and messages of one of the
// store's machines were still in the outbox when the store was opened.
func (s *Store) Emits() bool { return s.outbox.leftovers || slices.ContainsFunc(s.configs, isRelayed) }

// isRelayed reports whether the entities of a table may write to table outbox.
func isRelayed(t Table) bool { return emits(t.Machine) && t.Outbox == Packed }

// maxPackBytes and maxPackMessages limit a pack. One message is never split.
const (
	maxPackBytes    = 256 << 10
	maxPackMessages = 2000
)

// maxSourceBytes limits Table.Source, so that message IDs stay short.
const maxSourceBytes = 256

// validateOutbox checks the fields of a table that are about messages.
func validateOutbox(t Table) error {
	name := t.Machine.Name()
	switch {
	case t.Outbox > Debezium:
		return fmt.Errorf("machine %q: Outbox is %d; use Packed or Debezium", name, t.Outbox)
	case slices.ContainsFunc(t.PassHeaders, func(key string) bool {
		return strings.HasPrefix(key, "ce_") || strings.EqualFold(key, "content-type") || key == "" || !versioning.StorableText(key)
	}):
		return fmt.Errorf("machine %q: PassHeaders has a key that is empty, reserved (ce_, content-type) or not text: %q", name, t.PassHeaders)
	case len(t.Source) > maxSourceBytes || !utf8.ValidString(t.Source):
		return fmt.Errorf("machine %q: Source must be UTF-8 and have at most %d bytes", name, maxSourceBytes)
	}
	return nil
}

// emits reports whether the entities of a machine may emit messages: it has functions.
func emits(m *statemachine.Machine) bool { return m.RowType() != nil }

// An outPack is a pack that a transaction writes.
type outPack struct {
	versioning.PackRef

	n        int
	messages []byte
}

// A laneWriter collects the messages of a transaction.
type laneWriter struct {
	lanes [versioning.Lanes]packer
	packs []*outPack
}

// add adds a message to its lane.
func (w *laneWriter) add(m *versioning.Emitted) {
	lane := versioning.LaneOf(m.Entity)
	p := &w.lanes[lane]
	if p.n > 0 && (p.n == maxPackMessages || len(p.body)+sizeOfMessage(m) > maxPackBytes) {
		w.end(lane)
	}
	p.add(m)
}

func sizeOfMessage(m *versioning.Emitted) int {
	n := len(m.Key) + len(m.Value) + len(m.Entity.Key)
	for _, h := range m.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

// end ends the pack of a lane.
func (w *laneWriter) end(lane int) {
	if w.lanes[lane].n == 0 {
		return
	}
	messages, n := w.lanes[lane].pack()
	w.packs = append(w.packs, &outPack{versioning.PackRef{Token: rand.Int64(), Lane: lane}, n, messages})
}

// finish ends all packs, and returns those of each lane in order.
func (w *laneWriter) finish() []*outPack {
	for lane := range w.lanes {
		w.end(lane)
	}
	return w.packs
}

// insertPacksSQL writes packs: their tokens $1, lanes $2, numbers of messages $3 and messages
// $4. The IDs are in the order of the arrays.
const insertPacksSQL pawlSQL = `
INSERT INTO pawl.outbox (token, slot, lane, n, messages)
SELECT u.token, ` + slotSQL + `, u.lane, u.n, u.messages
FROM unnest($1::bigint[], $2::smallint[], $3::integer[], $4::bytea[]) WITH ORDINALITY AS u(token, lane, n, messages, nr)
ORDER BY u.nr
RETURNING id, slot`

// slotSQL is the partition that new packs go to.
const slotSQL = `(floor(extract(epoch FROM clock_timestamp()) / 10)::bigint % 8)::smallint`

// A queue takes statements that are sent together: a [Tx] or a batch.
type queue interface {
	Queue(sql string, args ...any) *pgx.QueuedQuery
}

// queuePacks queues the statement that writes packs, which sets their IDs.
func queuePacks(to queue, in *schema, packs []*outPack) {
	tokens, lanes := make(bigints, len(packs)), make([]int16, len(packs))
	ns, messages := make(integers, len(packs)), make([][]byte, len(packs))
	for i, p := range packs {
		tokens[i], lanes[i], ns[i], messages[i] = p.Token, int16(p.Lane), int32(p.n), p.messages
	}
	to.Queue(in.sql(insertPacksSQL), tokens, lanes, ns, messages).Query(func(rows pgx.Rows) error {
		next := packs
		var id int64
		var slot int16
		_, err := pgx.ForEachRow(rows, []any{&id, &slot}, func() error {
			next[0].ID, next[0].Slot = id, int(slot)
			next = next[1:]
			return nil
		})
		return err
	})
}

// A messageWriter is the [OutputWriter] of messages, for all tables. It belongs to one
// transaction.
type messageWriter struct {
	store *snapshot
	now   time.Time  // when the transaction began
	packs []*outPack // that it has written
}

// WriteOutputs implements [OutputWriter].
func (w *messageWriter) WriteOutputs(_ context.Context, tx Tx, steps []Caused) error {
	var lanes laneWriter
	var events []versioning.Emitted
	for i := range steps {
		c := &steps[i]
		t := w.store.byMachine[c.Entity.Machine]
		for index := range c.Outputs.Messages {
			m := w.store.emitted(t, c, index, w.now)
			if t.Outbox == Debezium {
				events = append(events, m)
			} else {
				lanes.add(&m)
			}
		}
	}
	if w.packs = lanes.finish(); len(w.packs) > 0 {
		queuePacks(tx, w.store.schema, w.packs)
	}
	if len(events) > 0 {
		queueEvents(tx, w.store.schema, events)
	}
	return nil
}

// emitted returns a message of a step.
func (s *snapshot) emitted(t *table, c *Caused, index int, now time.Time) versioning.Emitted {
	m := versioning.Emitted{
		OutMessage: c.Outputs.Messages[index], Source: t.Source, Entity: c.Entity, Event: c.Event,
		Version: c.Version, Index: index, Time: storableTime(c.Time),
	}
	if m.Source == "" {
		m.Source = s.outbox.source(s.schema)
	}
	if c.Time.IsZero() { // the record has no timestamp
		m.Time = now.UTC()
	}
	return m
}

// source returns the source of messages of tables that have none.
func (o *outbox) source(in *schema) string {
	source := "/" + url.PathEscape(o.database) + "/" + url.PathEscape(in.String())
	return source[:min(len(source), maxSourceBytes)]
}

// prepareOutbox reads what the outbox needs to know about the database.
func (s *Store) prepareOutbox(ctx context.Context, conn *pgxpool.Conn) error {
	mayRead := false
	err := conn.QueryRow(ctx, aboutOutboxSQL, oneMessage, s.schema.String()).Scan(&s.outbox.database, &mayRead)
	if err == nil && mayRead && !slices.ContainsFunc(s.configs, isRelayed) {
		s.outbox.leftovers, err = s.hasLeftovers(ctx, conn)
	}
	if err != nil {
		return fmt.Errorf("read the name of the database and its outbox: %w", err)
	}
	return nil
}

const aboutOutboxSQL = `
SELECT pg_catalog.current_database(), coalesce(pg_catalog.has_table_privilege(pg_catalog.to_regclass(format('%I.outbox', $1::text)), 'SELECT'), false)`

// hasLeftovers reports whether messages of the store's machines are in the outbox. It looks at
// the first pack of each lane: if those are of other machines, a relay of another store
// publishes them and all that come after.
func (s *Store) hasLeftovers(ctx context.Context, conn *pgxpool.Conn) (found bool, err error) {
	rows, err := conn.Query(ctx, s.schema.sql(firstPacksSQL), oneMessage, versioning.Lanes)
	if err != nil {
		return false, err
	}
	var data []byte
	_, err = pgx.ForEachRow(rows, []any{&data}, func() error {
		messages, _ := unpack(data) // a newer build may have written it, whose relay publishes it
		found = found || slices.ContainsFunc(messages, func(m versioning.Emitted) bool {
			return slices.ContainsFunc(s.configs, func(t Table) bool { return t.Machine.Name() == m.Entity.Machine })
		})
		return nil
	})
	return found, err
}

const firstPacksSQL pawlSQL = `
SELECT p.messages FROM generate_series(0, $1 - 1) AS l(lane)
CROSS JOIN LATERAL (SELECT o.messages FROM pawl.outbox AS o WHERE o.lane = l.lane::smallint ORDER BY o.id LIMIT 1) AS p`
