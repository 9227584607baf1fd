package contend

import (
	"context"
	"fmt"
	"hash/maphash"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/bench/internal/traffic"
	"github.com/pawl-go/pawl/statemachine"
)

// batchPoll limits the records of one poll of the hand-written batches.
const batchPoll = 5000

// runHandWrittenBatch is what people write when the loop with a transaction per message
// is too slow: each poll is dealt by key over a few connections, and each share is one
// transaction, which reads all its rows, decides everything in Go, and writes all its rows
// with one batch of statements.
func runHandWrittenBatch(ctx context.Context, job Job, machine *statemachine.Machine, m *meter) error {
	// PostgreSQL makes a generic plan while the tables are empty, and keeps it. Without these
	// settings that plan reads whole tables, and the loop is half as fast.
	pool, err := connectWith(ctx, job.DatabaseURL, connections, map[string]string{
		"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off",
	})
	if err != nil {
		return err
	}
	defer pool.Close()
	b := batcher{pool, decide(machine), statementsFor(machine.Name()), m}
	seed := maphash.MakeSeed()
	return eachPoll(ctx, job, m, batchPoll, func(ctx context.Context, records []*kgo.Record) error {
		return inShares(ctx, seed, connections, records, b.apply)
	})
}

// A batcher applies many records per transaction.
type batcher struct {
	pool       *pgxpool.Pool
	decide     decider
	statements statements
	meter      *meter
}

// A delivery is a decoded record.
type delivery struct {
	id      string
	message traffic.Message
}

func (b *batcher) apply(ctx context.Context, records []*kgo.Record) error {
	deliveries := make([]delivery, len(records))
	for i, r := range records {
		message, err := traffic.Decode(r.Value)
		if err != nil {
			return err
		}
		deliveries[i] = delivery{header(r, traffic.IDHeader), message}
	}
	tx, err := b.pool.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback(ctx) }()
	rows, known, err := b.read(ctx, tx, deliveries)
	if err != nil {
		return err
	}
	writes, err := b.fold(deliveries, rows, known)
	if err != nil {
		return err
	}
	if err := write(ctx, tx, writes); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	now := time.Now()
	for _, r := range records {
		if sent := header(r, traffic.SentHeader); sent != "" {
			b.meter.committed([]byte(sent), now)
		}
	}
	b.meter.settle(len(records))
	return nil
}

// A noted names a message in the history.
type noted struct{ key, id string }

// read locks and reads the rows that the messages are for, and looks up which of the
// messages the history has.
func (b *batcher) read(ctx context.Context, tx pgx.Tx, deliveries []delivery) (map[string]*row, map[noted]bool, error) {
	rows, known := make(map[string]*row, len(deliveries)), make(map[noted]bool)
	keys := make([]string, 0, len(deliveries))
	ofMessages, ids := make([]string, len(deliveries)), make([]string, len(deliveries))
	for i := range deliveries {
		key := deliveries[i].message.Key
		ofMessages[i], ids[i] = key, deliveries[i].id
		if rows[key] == nil {
			rows[key] = &row{}
			keys = append(keys, key)
		}
	}
	reads := &pgx.Batch{}
	reads.Queue(b.statements.readAll, keys).Query(func(result pgx.Rows) error {
		var key string
		var r row
		_, err := pgx.ForEachRow(result, append([]any{&key}, b.statements.destinations(&r)...), func() error {
			*rows[key] = r
			return nil
		})
		return err
	})
	reads.Queue(notedSQL, ofMessages, ids).Query(func(result pgx.Rows) error {
		var n noted
		_, err := pgx.ForEachRow(result, []any{&n.key, &n.id}, func() error {
			known[n] = true
			return nil
		})
		return err
	})
	if err := tx.SendBatch(ctx, reads).Close(); err != nil {
		return nil, nil, fmt.Errorf("read the rows: %w", err)
	}
	return rows, known, nil
}

// notedSQL looks up messages, not all messages of their entities: an entity may have had
// thousands.
const notedSQL = `
SELECT h.order_id, h.message_id
FROM unnest($1::text[], $2::text[]) AS u(order_id, message_id) JOIN order_history AS h USING (order_id, message_id)`

// fold decides all messages, in order, and returns what to write.
func (b *batcher) fold(deliveries []delivery, rows map[string]*row, known map[noted]bool) (*pgx.Batch, error) {
	writes := &pgx.Batch{QueuedQueries: make([]*pgx.QueuedQuery, 0, 2*len(deliveries))}
	for i := range deliveries {
		d := &deliveries[i]
		name := noted{d.message.Key, d.id}
		if known[name] {
			continue
		}
		known[name] = true
		at := rows[d.message.Key]
		to, legal := b.decide(*at, &d.message)
		if !legal {
			return nil, fmt.Errorf("%w: %s of %s", errIllegal, d.message.Event, d.message.Key)
		}
		query, args := b.statements.write(&d.message, at, &to)
		writes.Queue(query, args...)
		writes.Queue(b.statements.noted, b.statements.note(d.id, &d.message, at, &to)...)
		*at = to
	}
	return writes, nil
}

// write sends the writes in one round trip. Each must affect one row.
func write(ctx context.Context, tx pgx.Tx, writes *pgx.Batch) error {
	if writes.Len() == 0 {
		return nil
	}
	results := tx.SendBatch(ctx, writes)
	defer func() { _ = results.Close() }()
	for range writes.Len() {
		tag, err := results.Exec()
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		if tag.RowsAffected() != 1 {
			return fmt.Errorf("another writer changed or added a row: %s", tag)
		}
	}
	return results.Close()
}
