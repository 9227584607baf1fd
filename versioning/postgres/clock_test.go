package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A reader sweeps like a worker that reads some partitions. It uses the database's
// time. The test advances that by moving all stored times back.
type reader struct {
	t      *testing.T
	pool   *pgxpool.Pool
	store  *postgres.Store
	last   *time.Time // Swept.At of the previous sweep, by any reader
	passed *time.Duration
	reads  []int32
	every  time.Duration // how often it sweeps while it runs
}

func newReaders(t *testing.T, n int, every time.Duration) (*pgxpool.Pool, *postgres.Store, []reader) {
	t.Helper()
	pool, store := openOrders(t)
	readers := make([]reader, n)
	for i := range readers {
		readers[i] = reader{t: t, pool: pool, store: store, last: new(time.Time), passed: new(time.Duration), reads: []int32{int32(i)}, every: every}
	}
	return pool, store, readers
}

// sweep sweeps. Since the last sweep, the reader has read nothing, or everything.
func (r *reader) sweep(caughtUp bool) versioning.Swept {
	r.t.Helper()
	read := versioning.Reading{Pause: r.every * 6 / 5}
	for _, p := range r.reads {
		partition := versioning.ReadPartition{TopicID: [16]byte{7}, Partition: p}
		if caughtUp && !r.last.IsZero() {
			partition.Until = r.last.Add(-*r.passed)
		}
		read.Partitions = append(read.Partitions, partition)
	}
	swept, err := r.store.Sweep(r.t.Context(), read)
	if err != nil {
		r.t.Fatal(err)
	}
	*r.last, *r.passed = swept.At, 0
	return swept
}

// pass lets time pass for the database and the given readers.
func pass(t *testing.T, pool *pgxpool.Pool, d time.Duration, readers ...reader) {
	t.Helper()
	for _, query := range []string{
		`UPDATE pawl.parked SET parked_at = parked_at - $1::interval`,
		`UPDATE pawl.caught_up SET at = at - $1::interval`,
	} {
		if _, err := pool.Exec(t.Context(), query, d); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range readers {
		*r.passed += d
	}
}

// run lets time pass while the readers sweep every few minutes and keep up. It returns
// how many records expired.
func run(t *testing.T, pool *pgxpool.Pool, d time.Duration, readers ...reader) (expired int) {
	t.Helper()
	every := readers[0].every
	for range (d + every - 1) / every {
		pass(t, pool, every, readers...)
		for i := range readers {
			expired += readers[i].sweep(true).Expired
		}
	}
	return expired
}

// TestExpiry checks that a parked record expires after ParkFor of reading, and not
// earlier.
func TestExpiry(t *testing.T) {
	t.Parallel()
	pool, store, readers := newReaders(t, 1, 10*time.Minute)
	only := readers[0]
	only.sweep(false)
	var l log
	apply(t, store, l.say("a", "captured"))
	if n := run(t, pool, 23*time.Hour+50*time.Minute, only); n != 0 {
		t.Errorf("%d records expired within ParkFor", n)
	}
	if n := run(t, pool, 20*time.Minute, only); n != 1 {
		t.Errorf("%d records expired after ParkFor, want 1", n)
	}
	wantRows(t, pool, `SELECT reason FROM pawl.dead_letters`, "parked_too_long")
	wantRows(t, pool, `SELECT entity FROM pawl.parked`)
}

// TestClockStandsStill checks which time does not age a parked record: while no worker
// runs, while one lags behind, while the worker of another partition is dead, and
// before a partition became known.
func TestClockStandsStill(t *testing.T) {
	t.Parallel()
	const weekend = 66 * time.Hour
	for name, away := range map[string]func(*testing.T, *pgxpool.Pool, []reader) (expired int){
		"all down": func(t *testing.T, pool *pgxpool.Pool, r []reader) int {
			pass(t, pool, weekend, r...)
			n := r[0].sweep(false).Expired + r[1].sweep(false).Expired
			pass(t, pool, 20*time.Minute, r...) // catching up
			return n + r[0].sweep(true).Expired + r[1].sweep(true).Expired
		},
		"one lags": func(t *testing.T, pool *pgxpool.Pool, r []reader) (n int) {
			for range weekend / time.Hour {
				pass(t, pool, time.Hour, r...)
				n += r[0].sweep(true).Expired + r[1].sweep(false).Expired
			}
			return n + r[1].sweep(true).Expired
		},
		"one is dead": func(t *testing.T, pool *pgxpool.Pool, r []reader) int {
			n := run(t, pool, 26*time.Hour, r[0])
			r[1].passed = new(26 * time.Hour)
			*r[1].last, *r[1].passed = *r[0].last, 0
			return n + r[1].sweep(true).Expired
		},
		"one takes over": func(t *testing.T, pool *pgxpool.Pool, r []reader) int {
			n := run(t, pool, 26*time.Hour, r[0])
			r[0].reads = []int32{0, 1}
			return n + r[0].sweep(false).Expired + run(t, pool, time.Minute, r[0])
		},
		"a new partition": func(t *testing.T, pool *pgxpool.Pool, r []reader) int {
			n := run(t, pool, 23*time.Hour, r...)
			r[0].reads = append(r[0].reads, 2)
			return n + r[0].sweep(false).Expired + run(t, pool, 23*time.Hour, r...)
		},
		"first steps after an update": func(t *testing.T, pool *pgxpool.Pool, r []reader) int {
			mustExec(t, pool, `DELETE FROM pawl.caught_up`)
			pass(t, pool, weekend, r...)
			swept, err := r[0].store.Sweep(t.Context(), versioning.Reading{})
			if err != nil {
				t.Error(err)
			}
			return swept.Expired + r[0].sweep(false).Expired + r[1].sweep(false).Expired + run(t, pool, time.Hour, r...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool, store, readers := newReaders(t, 2, 30*time.Minute)
			for i := range readers {
				readers[i].sweep(false)
			}
			var l log
			apply(t, store, l.say("a", "captured"))
			run(t, pool, 30*time.Minute, readers...)
			if n := away(t, pool, readers); n != 0 {
				t.Errorf("%d records expired, want none", n)
			}
			wantRows(t, pool, `SELECT entity FROM pawl.parked`, "a")
			// A record that had waited for 30 minutes has 23:30 hours left, or all of
			// its time.
			n := run(t, pool, 22*time.Hour, readers...)
			if late := run(t, pool, 3*time.Hour, readers...); n != 0 && name != "a new partition" || n+late != 1 {
				t.Errorf("%d and %d records expired afterwards, want 0 and 1", n, late)
			}
		})
	}
}

// TestClockContinues checks that a partition that nobody reports any longer, such as
// one of a deleted topic, does not stop the clock forever.
func TestClockContinues(t *testing.T) {
	t.Parallel()
	pool, store, readers := newReaders(t, 2, 30*time.Minute)
	for i := range readers {
		readers[i].sweep(false)
	}
	var l log
	apply(t, store, l.say("a", "captured"))
	const gone = 7 * 24
	for hours := range gone + 2 {
		pass(t, pool, time.Hour, readers...)
		if n := readers[0].sweep(true).Expired; n != 0 {
			if hours+1 < gone {
				t.Errorf("%d records expired after %d hours", n, hours+1)
			}
			return
		}
	}
	t.Error("no record expired")
}

// TestClockWaitsForNobody checks that the clock stands still, and nobody waits for
// long, while another transaction judges a parked record.
func TestClockWaitsForNobody(t *testing.T) {
	t.Parallel()
	pool, store, readers := newReaders(t, 1, 10*time.Minute)
	only := readers[0]
	only.sweep(false)
	var l log
	apply(t, store, l.say("a", "captured"))
	pass(t, pool, 66*time.Hour, only)
	ctx := context.WithoutCancel(t.Context())
	tx, err := pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(ctx) //nolint:errcheck // it may have ended
	if _, err := tx.Exec(ctx, `SELECT FROM pawl.parked FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	read := versioning.Reading{Pause: time.Minute, Partitions: []versioning.ReadPartition{
		{TopicID: [16]byte{7}, Until: time.Now().Add(-time.Minute)},
	}}
	limited, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	swept, err := store.Sweep(limited, read)
	if versioning.CauseOf(err) == versioning.Fatal || err == nil || limited.Err() != nil || swept.Expired != 0 {
		t.Errorf("Sweep = %+v, %v; want an error that a retry fixes", swept, err)
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	if swept, err := store.Sweep(ctx, read); err != nil || swept.Expired != 0 {
		t.Errorf("Sweep = %+v, %v; want nothing expired", swept, err)
	}
	wantRows(t, pool, `SELECT entity FROM pawl.parked`, "a")
}
