//go:build failover

package failover

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// waiting counts the backends whose COMMIT waits for the standby.
const waiting = `SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`

// TestSilentStandby makes a synchronous standby stop answering. Whatever makes
// a worker give up a COMMIT that waits for the standby, the worker must not
// commit offsets: what it finds settled in the next attempt is lost if the
// standby takes over.
func TestSilentStandby(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		role    string // for ALTER ROLE postgres
		pool    func(*pgxpool.Config)
		disturb func(*world) // called repeatedly

		// believed means that an abandoned COMMIT looks like a successful one.
		// Then the worker may commit the offsets, and must go back later.
		believed bool
	}{
		"timeout": {},
		"timeout with cancel requests": {pool: func(cfg *pgxpool.Config) {
			cfg.ConnConfig.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
				return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: time.Second}
			}
		}},
		"statement_timeout": {role: `SET statement_timeout = '300ms'`},
		"backends terminated": {disturb: func(w *world) {
			w.exec(w.server, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`)
		}},
		"commits cancelled": {believed: true, disturb: func(w *world) {
			w.exec(w.server, `SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`)
		}},
		"restart": {disturb: func(w *world) { w.restart(w.server) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, false)
			if test.role != "" {
				w.exec(w.server, `ALTER ROLE postgres `+test.role)
			}
			standby := w.standby()
			store := w.open(w.pool(either(w.server, standby), test.pool))
			w.caughtUp(standby)
			w.cutOff(standby)
			w.waitForStandby()

			records := w.make(1000)
			early, bad := w.message("nothing", "paid"), &kgo.Record{Key: []byte("bad"), Value: []byte("no JSON")}
			w.produce(append(records, early, bad)...)
			w.produce(append(w.make(100), early, records[0], bad)...)
			cfg := w.config(store)
			cfg.ApplyTimeout = 500 * time.Millisecond
			worker := w.run(cfg)
			disturbed := 0
			testenv.Eventually(t, soon, func() error {
				if test.disturb != nil && w.ask(w.server, waiting) != "0" {
					test.disturb(w)
					disturbed++
				}
				if n := max(worker.troubles.Load(), int64(disturbed)); n < 6 {
					return fmt.Errorf("the worker gave up only %d times", n)
				}
				if w.ask(w.server, `SELECT count(*) FROM things`) == "0" {
					return errors.New("nothing is committed locally")
				}
				return nil
			})
			if n := w.committed(); n > 0 && !test.believed {
				t.Errorf("%d offsets were committed while the standby was silent", n)
			}
			w.failOver(standby)
			w.awaitSettled()
			worker.stop()
			if parked := w.ask(w.server, `SELECT count(*) FROM pawl.parked`); parked != "2" {
				t.Errorf("%s parked records, want 2", parked)
			}
			if dead := w.ask(w.server, `SELECT count(*) FROM pawl.dead_letters`); dead != "2" {
				t.Errorf("%s dead letters, want 2", dead)
			}
		})
	}
}

// TestSilentStandbyOfRedrive runs a redrive and a sweep while the synchronous
// standby is silent. Neither may report that a record is settled.
func TestSilentStandbyOfRedrive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	standby := w.standby()
	store := w.open(w.pool(either(w.server, standby), nil))
	var offset int64
	record := func(key, event string, failed error) *versioning.Record {
		r := &versioning.Record{
			Origin: versioning.Origin{Topic: topic, TopicID: [16]byte{1}, Offset: offset},
			Value:  fmt.Appendf(nil, `{"key":%q,"event":%q}`, key, event), Err: failed,
		}
		if offset++; failed == nil {
			r.Changes, _ = consumer.DecodeMessage(r)
		}
		store.Prepare(r)
		return r
	}
	_, err := store.Apply(t.Context(), "", []*versioning.Record{
		record("dead", "made", errors.New("decoder failed")), record("waiting", "paid", nil),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.exec(w.server, `INSERT INTO things VALUES ('waiting', 'new', 1)`) // as another application would
	letters, err := store.DeadLetters(t.Context(), postgres.DeadLetterFilter{})
	if err != nil || len(letters) != 1 {
		t.Fatalf("%d dead letters, %v; want 1", len(letters), err)
	}
	w.caughtUp(standby)
	w.cutOff(standby)
	w.waitForStandby()

	for i := range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if outcomes, err := store.Redrive(ctx, letters, consumer.DecodeMessage); err == nil || len(outcomes) > 0 {
			t.Errorf("redrive %d = %v, %v while the standby is silent; want an error", i, outcomes, err)
		}
		cancel()
		ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
		if swept, err := store.Sweep(ctx, versioning.Reading{}); err == nil && len(swept.Released) > 0 || i == 0 && err == nil {
			t.Errorf("sweep %d = %v, %v while the standby is silent; want an error", i, swept, err)
		}
		cancel()
	}
	w.failOver(standby)
	testenv.Eventually(t, soon, func() error { // until the pool has dropped its connections
		outcomes, err := store.Redrive(t.Context(), letters, consumer.DecodeMessage)
		if err == nil && (len(outcomes) != 1 || outcomes[0].Verdict != versioning.Applied) {
			t.Fatalf("redrive after the failover = %v; want applied", outcomes)
		}
		return err
	})
	swept, err := store.Sweep(t.Context(), versioning.Reading{})
	if err != nil || len(swept.Released) != 1 || swept.Released[0].Outcome.Verdict != versioning.Applied {
		t.Errorf("sweep after the failover = %v, %v; want one record applied", swept, err)
	}
}
