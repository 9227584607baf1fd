package postgres_test

import (
	"cmp"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/versioning"
)

// What a store remembers becomes wrong while its transaction waits. The guards that come after
// that notice it.
func TestRecallBecomesWrong(t *testing.T) { //nolint:tparallel // the cases share a log
	t.Parallel()
	l := log{next: 1000}
	expiring, created := l.say("b", "captured"), l.say("b", "placed")
	again := func(r *versioning.Record) *versioning.Record { // as it is delivered again
		return &versioning.Record{Origin: r.Origin, Changes: []versioning.Change{{Machine: "order", Key: r.Changes[0].Key, Event: r.Changes[0].Event}}}
	}
	for name, c := range map[string]struct {
		before    func(meddler)         // the store applies the records
		lock      string                // what it has to wait for; the row of a, if empty
		meanwhile func(meddler, pgx.Tx) // in the transaction that holds the lock
		records   []*versioning.Record
		want      []string // their verdicts
		rows      []string // afterwards
		rest      []string // records that are parked or dead
	}{
		"a parked record expires": {
			before: func(m meddler) {
				m.apply(expiring)
				m.exec(`UPDATE pawl.parked SET parked_at = now() - interval '25 hours'`)
				m.exec(`INSERT INTO pawl.caught_up (machine, topic_id, partition) VALUES ('order', gen_random_uuid(), 0)`)
			},
			meanwhile: func(m meddler, _ pgx.Tx) {
				if swept, err := m.other.Sweep(m.t.Context(), versioning.Reading{}); err != nil || swept.Expired != 1 {
					m.t.Errorf("Sweep = %+v, %v; want one expired", swept, err)
				}
			},
			records: []*versioning.Record{l.say("a", "captured"), l.say("b", "placed"), again(expiring)},
			want:    []string{"applied", "applied", "rejected parked_too_long"},
			rows:    []string{"a paid 3", "b pending 1"}, rest: []string{"dead"},
		},
		"a parked record expires between the guards": {
			before: func(m meddler) { m.apply(expiring) },
			lock:   `LOCK TABLE pawl.parked`,
			meanwhile: func(m meddler, tx pgx.Tx) {
				const expire = `
WITH expired AS (DELETE FROM pawl.parked RETURNING *)
INSERT INTO pawl.dead_letters (topic_id, partition, "offset", scope, topic, verdict, reason, detail, machine, entity, event, headers, "timestamp")
SELECT topic_id, partition, "offset", scope, topic, 'rejected', 'parked_too_long', '', machine, entity, 'captured', headers, "timestamp" FROM expired`
				if _, err := tx.Exec(m.t.Context(), expire); err != nil {
					m.t.Error(err)
				}
			},
			records: []*versioning.Record{l.say("a", "captured"), l.say("b", "placed"), again(expiring)},
			want:    []string{"applied", "applied", "rejected parked_too_long"},
			rows:    []string{"a paid 3", "b pending 1"}, rest: []string{"dead"},
		},
		"a record is parked": {
			meanwhile: func(m meddler, _ pgx.Tx) { m.apply(l.say("b", "captured")) },
			records:   []*versioning.Record{l.say("a", "captured"), l.say("b", "placed")},
			want:      []string{"applied", "applied"}, rows: []string{"a paid 3", "b paid 2"},
		},
		"the entity is created": {
			meanwhile: func(m meddler, _ pgx.Tx) { m.apply(created) },
			records:   []*versioning.Record{l.say("a", "captured"), again(created), l.say("b", "captured")},
			want:      []string{"applied", "duplicate", "applied"}, rows: []string{"a paid 3", "b paid 2"},
		},
		"the row is written": {
			meanwhile: func(m meddler, tx pgx.Tx) {
				if _, err := tx.Exec(m.t.Context(), `UPDATE orders SET version = 5`); err != nil {
					m.t.Error(err)
				}
			},
			records: []*versioning.Record{l.say("a", "captured"), l.say("b", "placed")},
			want:    []string{"applied", "applied"}, rows: []string{"a paid 6", "b pending 1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			pool, other := openOrders(t)
			store, _ := traced(t, pool, func(c *pgxpool.Config) { c.MaxConns = 1 })
			var first log
			apply(t, store, first.say("a", "placed"))
			apply(t, store, first.say("a", "noted")) // so that the statements are prepared, which would wait too
			m := meddler{t, pool, store, other}
			if c.before != nil {
				c.before(m)
			}
			done := make(chan versioning.Result, 1)
			err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
				if _, err := tx.Exec(t.Context(), cmp.Or(c.lock, `SELECT FROM orders WHERE id = 'a' FOR UPDATE`)); err != nil {
					return err
				}
				go func() { done <- apply(t, store, c.records...) }()
				waitForLock(t, pool)
				c.meanwhile(m, tx)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			wantVerdicts(t, <-done, c.want...)
			wantRows(t, pool, `SELECT id || ' ' || state || ' ' || version FROM orders ORDER BY id`, c.rows...)
			wantRows(t, pool, `SELECT 'parked' FROM pawl.parked UNION ALL SELECT 'dead' FROM pawl.dead_letters`, c.rest...)
		})
	}
}
