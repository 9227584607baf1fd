package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// untilSettled applies records like a worker: it retries after trouble.
func untilSettled(ctx context.Context, store *postgres.Store, records []*versioning.Record) ([]versioning.Outcome, error) {
	var outcomes []versioning.Outcome
	for attempt := 0; len(outcomes) < len(records); attempt++ {
		result, err := store.Apply(ctx, "", records[len(outcomes):])
		outcomes = append(outcomes, result.Outcomes...)
		if err != nil && (attempt > 50 || versioning.CauseOf(err) != versioning.Infrastructure) {
			return outcomes, err
		}
	}
	return outcomes, nil
}

// TestZombie lets several stores apply the same records at the same time. Each step
// must be made once, and only one store may report it.
func TestZombie(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	for round := range 15 {
		const workers, entities = 3, 8
		outcomes := make([][]versioning.Outcome, workers)
		var wait sync.WaitGroup
		for w := range workers {
			l := log{next: int64(round) * 1000}
			var records []*versioning.Record
			for _, event := range []statemachine.Event{"placed", "captured", "shipped", "delivered"} {
				for i := range entities {
					records = append(records, l.say(fmt.Sprint(round, "/", i), event))
				}
			}
			if round%3 == 2 { // the first steps come last, so that records are parked
				records = append(records[entities:], records[:entities]...)
			}
			prepare(store, records)
			wait.Go(func() {
				var err error
				// Small batches, so that the workers interleave.
				for len(records) > 0 {
					n := min(len(records), 5)
					var some []versioning.Outcome
					if some, err = untilSettled(t.Context(), store, records[:n]); err != nil {
						t.Errorf("worker %d: %v", w, err)
						return
					}
					outcomes[w] = append(outcomes[w], some...)
					records = records[n:]
				}
			})
		}
		wait.Wait()
		count := make(map[versioning.Verdict]int)
		for _, all := range outcomes {
			for _, o := range all {
				count[o.Verdict]++
			}
		}
		if round%3 != 2 && (count[versioning.Applied] != entities*4 || count[versioning.Duplicate] != entities*4*(workers-1)) {
			t.Fatalf("round %d: %v, want each step applied once and the rest duplicates", round, count)
		}
		if _, err := store.Sweep(t.Context(), versioning.Reading{}); err != nil {
			t.Fatal(err)
		}
	}
	wantRows(t, pool, `SELECT DISTINCT state || ' ' || version FROM orders`, "delivered 4")
	wantRows(t, pool, `SELECT count(*)::text FROM pawl.transitions`, "480")
	wantRows(t, pool, `SELECT p::text FROM pawl.parked AS p`)
	wantRows(t, pool, `SELECT p::text FROM pawl.dead_letters AS p`)
}

// TestMovedInBetween moves rows between the reading and the writing of a batch.
func TestMovedInBetween(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		setUp  []statemachine.Event // applied to entity a before
		theirs func(*log) []*versioning.Record
		ours   func(*log) []*versioning.Record
		want   []string
		row    string
	}{
		{
			name: "updated", setUp: []statemachine.Event{"placed"},
			theirs: func(l *log) []*versioning.Record { return []*versioning.Record{l.say("a", "noted")} },
			ours:   func(l *log) []*versioning.Record { return []*versioning.Record{l.say("a", "captured")} },
			want:   []string{"applied"}, row: "(a,paid,3,,,)",
		},
		{
			name:   "created",
			theirs: func(l *log) []*versioning.Record { return []*versioning.Record{l.say("a", "placed")} },
			ours:   func(l *log) []*versioning.Record { return []*versioning.Record{l.say("a", "placed")} },
			want:   []string{"rejected illegal"}, row: "(a,pending,1,,,)",
		},
		{
			name:   "created by the same message",
			theirs: func(*log) []*versioning.Record { return []*versioning.Record{(&log{next: 500}).say("a", "placed")} },
			ours:   func(*log) []*versioning.Record { return []*versioning.Record{(&log{next: 500}).say("a", "placed")} },
			want:   []string{"duplicate"}, row: "(a,pending,1,,,)",
		},
		{
			name: "ended", setUp: []statemachine.Event{"placed"},
			theirs: func(l *log) []*versioning.Record { return []*versioning.Record{l.say("a", "cancelled")} },
			ours: func(l *log) []*versioning.Record {
				return []*versioning.Record{l.say("b", "placed"), l.say("a", "captured")}
			},
			want: []string{"applied", "rejected illegal"}, row: "(a,cancelled,2,,,)",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			pool, store := openOrders(t)
			hooked, tr := traced(t, pool)
			var l log
			for _, event := range c.setUp {
				apply(t, store, l.say("a", event))
			}
			tr.before(first(1, func() { apply(t, store, c.theirs(&l)...) }))
			wantVerdicts(t, apply(t, hooked, c.ours(&l)...), c.want...)
			wantRows(t, pool, `SELECT t::text FROM orders AS t WHERE id = 'a'`, c.row)
			wantRows(t, pool, `SELECT count(*)::text FROM pawl.transitions AS h JOIN orders AS t ON t.id = h.entity
				WHERE h.version > t.version`, "0")
		})
	}
}

// TestSetByHand lets somebody set a column of a row between the reading and the writing of a
// batch. Neither that state nor that version may be overwritten unseen.
func TestSetByHand(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, want, row string }{
		"state":   {`UPDATE orders SET state = 'paid' WHERE id = 'a'`, "rejected illegal", "(a,paid,1,,,)"},
		"version": {`UPDATE orders SET version = 7 WHERE id = 'a'`, "applied", "(a,paid,8,,,)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool, store := openOrders(t)
			hooked, tr := traced(t, pool)
			var l log
			apply(t, store, l.say("a", "placed"))
			tr.before(first(1, func() { mustExec(t, pool, c.sql) }))
			wantVerdicts(t, apply(t, hooked, l.say("a", "captured")), c.want)
			wantRows(t, pool, `SELECT t::text FROM orders AS t WHERE id = 'a'`, c.row)
		})
	}
}

// TestMovedOnEveryAttempt moves a row before every attempt that holds no lock, and
// creates rows before every attempt.
func TestMovedOnEveryAttempt(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	hooked, tr := traced(t, pool)
	var l log
	apply(t, store, l.say("a", "placed"))
	n := 0
	come := func() { // from another partition, which has a different fate lock
		r := l.say(key(n), "placed")
		r.Origin.Partition = 1
		apply(t, store, r)
	}
	tr.before(func(context.Context, *pgx.Conn) {
		if n++; n <= 3 {
			come()
		}
	})
	result := apply(t, hooked, l.say("a", "captured"), l.say(key(1), "placed"), l.say(key(2), "placed"), l.say(key(3), "placed"))
	wantVerdicts(t, result, "applied", "rejected illegal", "rejected illegal", "rejected illegal")
	if n != 4 {
		t.Errorf("%d attempts, want 4", n)
	}

	// If that never stops, nothing is written.
	n = 100
	tr.before(func(context.Context, *pgx.Conn) { n++; come() })
	var records []*versioning.Record
	for i := 101; i < 120; i++ {
		records = append(records, l.say(key(i), "placed"))
	}
	prepare(hooked, records)
	result, err := hooked.Apply(t.Context(), "", records)
	if !errors.Is(err, versioning.ErrContended) || versioning.CauseOf(err) != versioning.Infrastructure || len(result.Outcomes) > 0 {
		t.Errorf("Apply = %v, %v; want ErrContended", verdicts(result.Outcomes), err)
	}
	wantRows(t, pool, `SELECT count(*)::text FROM orders WHERE id >= 'k0101'`, "6") // five attempts, and one that relied on the memory
}

// TestSecondAttemptLocks checks that a row can be moved once between reading and
// writing, but not twice.
func TestSecondAttemptLocks(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	hooked, tr := traced(t, pool)
	var l log
	apply(t, store, l.say("a", "placed"))
	var attempts []error
	tr.before(func(ctx context.Context, _ *pgx.Conn) {
		_, err := pool.Exec(ctx, `SELECT FROM orders WHERE id = 'a' FOR UPDATE NOWAIT`)
		if attempts = append(attempts, err); err == nil {
			apply(t, store, l.say("a", "noted"))
		}
	})
	wantVerdicts(t, apply(t, hooked, l.say("a", "captured")), "applied")
	if len(attempts) != 2 || attempts[0] != nil || attempts[1] == nil {
		t.Errorf("attempts of another session to lock the row: %v, want one success and one failure", attempts)
	}
}

// TestParkedInBetween covers one worker that parks while another moves the entity:
// neither sees the other, but the sweep sees both.
func TestParkedInBetween(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	hooked, tr := traced(t, pool)
	var l log
	tr.before(first(1, func() { apply(t, store, l.say("a", "placed")) }))
	wantVerdicts(t, apply(t, hooked, l.say("a", "captured")), "early no_entity")
	swept, err := store.Sweep(t.Context(), versioning.Reading{})
	if err != nil || len(swept.Released) != 1 || swept.Released[0].Outcome.Verdict != versioning.Applied {
		t.Errorf("Sweep = %+v, %v; want one applied", swept, err)
	}
	wantRows(t, pool, `SELECT t::text FROM orders AS t`, "(a,paid,2,,,)")
	wantRows(t, pool, `SELECT p::text FROM pawl.parked AS p`)
}

// TestParkedAfterReading covers the opposite order: the worker that moves the entity
// has read before the record was parked, and writes after the next sweep. That sweep
// finds nothing, but a later one must find the record.
func TestParkedAfterReading(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	hooked, tr := traced(t, pool)
	var l log
	sweep := func(want int) {
		swept, err := store.Sweep(t.Context(), versioning.Reading{})
		if err != nil || len(swept.Released) != want {
			t.Errorf("Sweep = %+v, %v; want %d released", swept, err, want)
		}
	}
	tr.before(first(1, func() {
		wantVerdicts(t, apply(t, store, l.say("a", "captured")), "early no_entity")
		sweep(0)
	}))
	wantVerdicts(t, apply(t, hooked, l.say("a", "placed")), "applied")
	sweep(1)
	wantRows(t, pool, `SELECT t::text FROM orders AS t`, "(a,paid,2,,,)")
}

// TestDecidedInBetween lets another worker decide the same record between reading and
// writing, without a row that conflicts: the record must end up with one verdict.
func TestDecidedInBetween(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		parked statemachine.Event   // parked before
		theirs []statemachine.Event // applied before the record
		want   string
		dead   []string
	}{
		{"dead, to be parked", "", []statemachine.Event{"placed", "cancelled"}, "rejected illegal", []string{"illegal"}},
		{"applied, to be parked", "", []statemachine.Event{"placed"}, "duplicate", nil},
		{"applied, to be a dead letter", "noted", []statemachine.Event{"placed"}, "duplicate", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			pool, _ := openOrders(t)
			one := postgres.Table{Machine: order, Name: "orders", MaxParked: 1}
			store := open(t, pool, one)
			_, tr := traced(t, pool)
			hooked := open(t, tr.pool, one)
			var l log
			if c.parked != "" {
				apply(t, store, l.say("a", c.parked))
			}
			record := l.say("a", "captured")
			again := *record
			tr.before(first(1, func() {
				for _, event := range c.theirs {
					apply(t, store, l.say("a", event))
				}
				apply(t, store, &again)
			}))
			wantVerdicts(t, apply(t, hooked, record), c.want)
			wantRows(t, pool, `SELECT p::text FROM pawl.parked AS p`)
			wantRows(t, pool, `SELECT reason FROM pawl.dead_letters`, c.dead...)
		})
	}
}

// TestReleasedTwice lets two workers release the same parked record.
func TestReleasedTwice(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	hooked, tr := traced(t, pool)
	var l log
	apply(t, store, l.say("a", "captured"), l.say("a", "noted"))
	placed := l.say("a", "placed")
	tr.before(first(1, func() { apply(t, store, placed) }))
	again := *placed
	result := apply(t, hooked, &again)
	wantVerdicts(t, result, "duplicate")
	if len(result.Released) != 0 {
		t.Errorf("released again: %v", result.Released)
	}
	wantRows(t, pool, `SELECT t::text FROM orders AS t`, "(a,paid,2,,,)")
	wantRows(t, pool, `SELECT p::text FROM pawl.parked AS p`)
}

func TestTriggerThatDropsWrites(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	var l log
	apply(t, store, l.say("a", "placed"), l.say("b", "placed"))
	mustExec(t, pool, `CREATE FUNCTION drop_it() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER t BEFORE UPDATE ON orders FOR EACH ROW WHEN (old.id = 'a') EXECUTE FUNCTION drop_it()`)
	records := []*versioning.Record{l.say("b", "captured"), l.say("a", "captured"), l.say("c", "captured"), l.say("c", "nosuch")}
	prepare(store, records)
	result, err := store.Apply(t.Context(), "", records)
	if !errors.Is(err, versioning.ErrContended) || len(result.Outcomes) > 0 {
		t.Errorf("Apply = %v, %v; want ErrContended", verdicts(result.Outcomes), err)
	}
	wantRows(t, pool, `SELECT t::text FROM orders AS t ORDER BY id`, "(a,pending,1,,,)", "(b,pending,1,,,)")
	wantRows(t, pool, `SELECT entity FROM pawl.parked UNION ALL SELECT entity FROM pawl.dead_letters`)
}

// TestHeldLock checks that a batch waits for a row that another transaction has locked,
// and then sees the result of that transaction.
func TestHeldLock(t *testing.T) {
	t.Parallel()
	for _, commit := range []bool{true, false} {
		t.Run(fmt.Sprintf("commit=%t", commit), func(t *testing.T) {
			t.Parallel()
			pool, store := openOrders(t)
			var l log
			apply(t, store, l.say("a", "placed"))
			tx, err := pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = tx.Rollback(context.Background()) }()
			if _, err := tx.Exec(t.Context(), `UPDATE orders SET state = 'cancelled', version = 2 WHERE id = 'a'`); err != nil {
				t.Fatal(err)
			}
			captured := l.say("a", "captured")
			prepare(store, []*versioning.Record{captured})
			got := make(chan string, 1)
			go func() {
				result, err := store.Apply(t.Context(), "", []*versioning.Record{captured})
				got <- fmt.Sprint(verdicts(result.Outcomes), err)
			}()
			waitForLock(t, pool)
			want := "[applied] <nil>"
			if commit {
				want = "[rejected illegal] <nil>"
				err = tx.Commit(t.Context())
			} else {
				err = tx.Rollback(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := <-got; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

// waitForLock waits until a session of the database waits for a lock.
func waitForLock(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	waitForLocks(t, pool, 1)
}

// waitForLocks waits until some sessions of the database wait for locks.
func waitForLocks(t *testing.T, pool *pgxpool.Pool, sessions int) {
	t.Helper()
	testenv.Eventually(t, 10*time.Second, func() error {
		var n int
		err := pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&n)
		if err == nil && n < sessions {
			err = fmt.Errorf("%d sessions wait for a lock, not %d", n, sessions)
		}
		return err
	})
}

// TestDeadlocks mixes records that touch the same rows in opposite orders.
func TestDeadlocks(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	const entities, workers, rounds = 6, 3, 12
	var l log
	for i := range entities {
		apply(t, store, l.say(key(i), "placed"))
	}
	var wait sync.WaitGroup
	for w := range workers {
		l := log{next: int64(w+1) * 1_000_000}
		wait.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 1))
			for range rounds {
				var records []*versioning.Record
				for _, i := range random.Perm(entities) {
					records = append(records, l.say(key(i), "noted"))
				}
				prepare(store, records)
				if _, err := untilSettled(t.Context(), store, records); err != nil {
					t.Errorf("worker %d: %v", w, err)
				}
			}
		})
	}
	wait.Wait()
	wantRows(t, pool, `SELECT DISTINCT version::text FROM orders`, fmt.Sprint(1+workers*rounds))
	wantRows(t, pool, `SELECT count(*)::text FROM pawl.transitions`, fmt.Sprint(entities*(1+workers*rounds)))
	wantRows(t, pool, `SELECT reason FROM pawl.dead_letters`)
}

// TestKilledConnection kills the connection before the writes are sent, and in the COMMIT
// that follows them.
func TestKilledConnection(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		kill func(*testing.T, *pgxpool.Pool, *tracer)
		stop string
	}{
		{"before the writes", func(t *testing.T, pool *pgxpool.Pool, tr *tracer) {
			t.Helper()
			tr.before(func(_ context.Context, conn *pgx.Conn) {
				mustExec(t, pool, `SELECT pg_terminate_backend($1, 5000)`, conn.PgConn().PID())
			})
		}, ``},
		{"after the writes", func(t *testing.T, pool *pgxpool.Pool, _ *tracer) {
			t.Helper()
			// A deferred trigger runs in the COMMIT.
			mustExec(t, pool, `CREATE FUNCTION kill() RETURNS trigger LANGUAGE plpgsql AS
				'BEGIN PERFORM pg_terminate_backend(pg_backend_pid(), 5000); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER t AFTER INSERT ON pawl.dead_letters DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION kill()`)
		}, `DROP TRIGGER t ON pawl.dead_letters`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			pool, store := openOrders(t)
			hooked, tr := traced(t, pool)
			var l log
			apply(t, store, l.say("a", "captured"))
			records := []*versioning.Record{l.say("a", "placed"), l.say("b", "shipped"), l.say("b", "nosuch"), l.say("b", "placed")}
			prepare(store, records)
			c.kill(t, pool, tr)
			result, err := hooked.Apply(t.Context(), "", records)
			if versioning.CauseOf(err) != versioning.Infrastructure || len(result.Outcomes) > 0 {
				t.Fatalf("Apply = %v, %v; want an error of infrastructure", verdicts(result.Outcomes), err)
			}
			wantRows(t, pool, `SELECT t::text FROM orders AS t`)
			wantRows(t, pool, `SELECT entity FROM pawl.dead_letters`)
			tr.before(nil)
			mustExec(t, pool, c.stop)
			wantVerdicts(t, apply(t, hooked, records...), "applied", "early not_yet", "rejected unknown_event", "applied")
			wantRows(t, pool, `SELECT t::text FROM orders AS t ORDER BY id`, "(a,paid,2,,,)", "(b,pending,1,,,)")
		})
	}
}

// TestLostAnswer loses the answer to a COMMIT that has succeeded: the next attempt finds
// what was written.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	hooked, tr, armed, lost := deaf(t, pool)
	var l log
	apply(t, store, l.say("a", "captured"))
	records := []*versioning.Record{l.say("a", "placed"), l.say("b", "shipped"), l.say("b", "nosuch"), l.say("b", "placed")}
	prepare(store, records)
	tr.before(first(1, func() { armed.Store(true) }))
	result, err := hooked.Apply(t.Context(), "", records)
	if versioning.CauseOf(err) != versioning.Infrastructure || len(result.Outcomes) > 0 {
		t.Errorf("Apply = %v, %v; want an error of infrastructure", verdicts(result.Outcomes), err)
	}
	if n := lost.Load(); n != 1 {
		t.Errorf("%d answers were lost, want 1", n)
	}
	wantStored := func() {
		t.Helper()
		wantRows(t, pool, `SELECT t::text FROM orders AS t ORDER BY id`, "(a,paid,2,,,)", "(b,pending,1,,,)")
		wantRows(t, pool, `SELECT entity || ' ' || version FROM pawl.transitions ORDER BY 1`, "a 1", "a 2", "b 1")
		wantRows(t, pool, `SELECT entity FROM pawl.parked`, "b")
		wantRows(t, pool, `SELECT entity FROM pawl.dead_letters`, "b")
	}
	wantStored()
	wantVerdicts(t, apply(t, hooked, records...), "duplicate", "early not_yet", "rejected unknown_event", "duplicate")
	wantStored()
}

// deaf returns a store whose connections are [deafConn]s.
func deaf(t *testing.T, pool *pgxpool.Pool) (store *postgres.Store, tr *tracer, armed *atomic.Bool, lost *atomic.Int64) {
	t.Helper()
	armed, lost = new(atomic.Bool), new(atomic.Int64)
	store, tr = traced(t, pool, func(c *pgxpool.Config) {
		c.ConnConfig.TLSConfig = nil // deafConn reads the protocol
		dial := c.ConnConfig.DialFunc
		c.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			return &deafConn{conn, armed, lost}, err
		}
	})
	return store, tr, armed, lost
}

// A deafConn is a connection to PostgreSQL. Once it is armed, it loses the first answer
// that ends a transaction, and closes.
type deafConn struct {
	net.Conn

	armed *atomic.Bool
	lost  *atomic.Int64
}

// Read loses an answer that ends with ReadyForQuery, if the session is not in a transaction.
func (c *deafConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if bytes.HasSuffix(b[:n], []byte("Z\x00\x00\x00\x05I")) && c.armed.Swap(false) {
		c.lost.Add(1)
		return 0, errors.Join(io.ErrUnexpectedEOF, c.Close())
	}
	return n, err
}

// TestLockOrder lets workers move the same entities in batches of different orders:
// they wait for each other, but never deadlock.
func TestLockOrder(t *testing.T) {
	t.Parallel()
	_, store := openOrders(t)
	const workers, rounds, entities = 4, 25, 100
	var wait sync.WaitGroup
	for w := range workers {
		l := log{next: int64(w) * 1_000_000}
		wait.Go(func() {
			for round := range rounds {
				var records []*versioning.Record
				for _, i := range rand.Perm(entities) {
					// New entities in each round, and those of the previous round.
					records = append(records,
						l.set(fmt.Sprint(round, "/", i), "placed", versioning.Columns{"note": "x"}),
						l.say(fmt.Sprint(max(0, round-1), "/", i), "noted"))
				}
				prepare(store, records)
				if _, err := store.Apply(t.Context(), "", records); err != nil && !errors.Is(err, versioning.ErrContended) {
					t.Errorf("worker %d, round %d: %v", w, round, err)
				}
			}
		})
	}
	wait.Wait()
}

// TestLockOrderOfUnique does the same with a unique column: such updates run in the
// order of the log.
func TestLockOrderOfUnique(t *testing.T) {
	t.Parallel()
	_, store := openOrders(t)
	const workers, rounds, entities = 4, 40, 40
	var made log
	for i := range entities {
		apply(t, store, made.say(key(i), "placed"))
	}
	var wait sync.WaitGroup
	for w := range workers {
		l := log{next: int64(w+1) * 1_000_000}
		wait.Go(func() {
			for round := range rounds {
				var records []*versioning.Record
				for _, i := range rand.Perm(entities) {
					records = append(records, l.set(key(i), "noted", versioning.Columns{"code": fmt.Sprint(w, "/", round, "/", i)}))
				}
				prepare(store, records)
				if _, err := store.Apply(t.Context(), "", records); err != nil && !errors.Is(err, versioning.ErrContended) {
					t.Errorf("worker %d, round %d: %v", w, round, err)
				}
			}
		})
	}
	wait.Wait()
}

// TestIdleTransactionTimeout reads, from within a transaction, how long it may be idle:
// a frozen worker must not lock its rows forever.
func TestIdleTransactionTimeout(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, role, want string }{
		{"unlimited", "0", "30s"},
		{"limited by the role", "5s", "5s"},
		{"limited more loosely by the role", "1h", "1h"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			pool, _ := openOrders(t)
			mustExec(t, pool, `CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
				$$ BEGIN NEW.note := current_setting('idle_in_transaction_session_timeout'); RETURN NEW; END $$`)
			mustExec(t, pool, `CREATE TRIGGER note BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION note()`)
			config := pool.Config()
			config.ConnConfig.RuntimeParams["idle_in_transaction_session_timeout"] = tt.role
			limited, err := pgxpool.NewWithConfig(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			defer limited.Close()
			l := log{}
			apply(t, open(t, limited, postgres.Table{Machine: order, Name: "orders"}), l.say("a", "placed"))
			wantRows(t, pool, "SELECT note FROM orders", tt.want)
		})
	}
}

// TestDeadLetteredInBetween checks that a record is not applied if another worker has
// made it a dead letter since it was read, although its entity has not moved.
func TestDeadLetteredInBetween(t *testing.T) {
	t.Parallel()
	for _, recalled := range []bool{false, true} {
		t.Run(fmt.Sprint("recalled=", recalled), func(t *testing.T) {
			t.Parallel()
			pool, before := openOrders(t)
			store, tr := traced(t, pool)
			if recalled {
				before = store
			}
			var l log
			wantVerdicts(t, apply(t, before, l.say("a", "placed"), l.say("b", "nosuch")), "applied", "rejected unknown_event")
			batch := []*versioning.Record{l.say("a", "captured"), l.say("c", "placed"), l.say("b", "placed")}
			tr.before(first(1, func() { deadLetterElsewhere(t, pool, batch[0].Origin) }))
			wantVerdicts(t, apply(t, store, batch...), "rejected guard", "applied", "applied")
			wantRows(t, pool, `SELECT id || state || version FROM orders ORDER BY id`, "apending1", "bpending1", "cpending1")
			wantRows(t, pool, `SELECT count(*)::text FROM pawl.transitions`, "3")
		})
	}
}

// TestDeadLetteredWhileParked does the same for a record that its batch parks and then
// releases.
func TestDeadLetteredWhileParked(t *testing.T) {
	t.Parallel()
	pool, _ := openOrders(t)
	store, tr := traced(t, pool)
	var l log
	wantVerdicts(t, apply(t, store, l.say("b", "nosuch")), "rejected unknown_event")
	batch := []*versioning.Record{l.say("a", "captured"), l.say("a", "placed")}
	tr.before(first(1, func() { deadLetterElsewhere(t, pool, batch[0].Origin) }))
	wantVerdicts(t, apply(t, store, batch...), "rejected guard", "applied")
	wantRows(t, pool, `SELECT id || state || version FROM orders ORDER BY id`, "apending1")
}

// deadLetterElsewhere makes the record with an origin a dead letter, like another
// worker: it copies the only dead letter in the table.
func deadLetterElsewhere(t *testing.T, pool *pgxpool.Pool, at versioning.Origin) {
	t.Helper()
	mustExec(t, pool, `
INSERT INTO pawl.dead_letters (topic_id, partition, "offset", scope, topic, verdict, reason, detail, machine, entity, event, headers, "timestamp")
SELECT $1, $2, $3, scope, topic, verdict, 'guard', detail, machine, 'a', event, headers, "timestamp" FROM pawl.dead_letters`,
		at.TopicID, at.Partition, at.Offset)
}
