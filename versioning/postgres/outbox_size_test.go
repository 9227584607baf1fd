package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/embedded"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// createThings creates schema pawl and a table for the machine noting.
func createThings(ctx context.Context, url string) error {
	if err := migrate.Up(ctx, url); err != nil {
		return err
	}
	return execute(ctx, url, `CREATE TABLE thing (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, n bigint NOT NULL)`)
}

func replaceWorker(grant, role string) string {
	return strings.ReplaceAll(grant, " worker;", " "+role+";")
}

// outboxSize returns the size of the outbox with its indexes, without the partitions in use.
func outboxSize(t *testing.T, pool *pgxpool.Pool) (size int64) {
	t.Helper()
	err := pool.QueryRow(t.Context(), `
SELECT coalesce(sum(pg_total_relation_size(inhrelid)), 0) FROM pg_inherits WHERE inhparent = 'pawl.outbox'::regclass`).Scan(&size)
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// begin opens a transaction, which the end of the test rolls back.
func begin(t *testing.T, pool *pgxpool.Pool, level pgx.TxIsoLevel) pgx.Tx {
	t.Helper()
	tx, err := pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: level})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}

// drain publishes everything, as a relay does.
func drain(t *testing.T, store *postgres.Store) (values []string) {
	t.Helper()
	for {
		packs := packsOf(t, store, allLanes()...)
		if len(packs) == 0 {
			return values
		}
		values = append(values, valuesOf(packs)...)
		if err := store.DeletePacks(t.Context(), refs(packs), false); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOutboxKeepsItsSize lets tens of thousands of messages flow while somebody holds a
// snapshot: afterwards tables and indexes have the size that they had before. It waits until
// another partition is the current one.
func TestOutboxKeepsItsSize(t *testing.T) {
	t.Parallel()
	pool, store := openNotes(t, postgres.Table{})
	before := outboxSize(t, pool)
	snapshot := begin(t, pool, pgx.RepeatableRead)
	if _, err := snapshot.Exec(t.Context(), `SELECT count(*) FROM thing`); err != nil {
		t.Fatal(err)
	}
	var l log
	sent := 0
	for round := range 30 {
		var records []*versioning.Record
		for i := range 1000 {
			event := statemachine.Event("did")
			if round == 0 {
				event = "made"
			}
			records = append(records, l.did(key(i), event, int64(round)))
		}
		apply(t, store, records...)
		sent += len(drain(t, store))
	}
	if sent != 30*1000 {
		t.Errorf("%d messages, not %d", sent, 30*1000)
	}
	if grown := outboxSize(t, pool); grown < before+1<<20 {
		t.Fatalf("the outbox has grown by only %d bytes", grown-before)
	}
	testenv.Eventually(t, 30*time.Second, func() error {
		if _, err := store.TruncateOutbox(t.Context()); err != nil {
			return err
		}
		if after := outboxSize(t, pool); after > before {
			return fmt.Errorf("the outbox has %d bytes; it had %d", after, before)
		}
		return nil
	})
}

// TestOpenTransactions checks that a transaction that commits late, or never, or is prepared,
// neither holds up the messages of others nor loses its own.
func TestOpenTransactions(t *testing.T) {
	t.Parallel()
	server, err := embedded.StartPostgres(t.Context(), embedded.PostgresConfig{Settings: map[string]string{"max_prepared_transactions": "4"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := createThings(t.Context(), server.URL()); err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.New(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	store := open(t, pool, postgres.Table{Machine: noting, Name: "thing"})
	// These insert a pack like a transaction of the store, and don't commit yet.
	insert := func(tx pgx.Tx) {
		t.Helper()
		var l log
		apply(t, store, l.did("template", "made", 1))
		if _, err := tx.Exec(t.Context(), `INSERT INTO pawl.outbox (token, slot, lane, n, messages)
SELECT token + 1, slot, lane, n, messages FROM pawl.outbox LIMIT 1`); err != nil {
			t.Fatal(err)
		}
		drain(t, store)
		mustExec(t, pool, `DELETE FROM pawl.transitions; DELETE FROM thing`)
	}
	late, never, prepared := begin(t, pool, pgx.ReadCommitted), begin(t, pool, pgx.ReadCommitted), begin(t, pool, pgx.ReadCommitted)
	for _, tx := range []pgx.Tx{late, never, prepared} {
		insert(tx)
	}
	if _, err := prepared.Exec(t.Context(), `PREPARE TRANSACTION 'later'`); err != nil {
		t.Fatal(err)
	}
	var l log
	l.next = 100
	for i := range 20 {
		apply(t, store, l.did(key(i), "made", int64(i)))
		if got := drain(t, store); len(got) != 1 {
			t.Fatalf("%d messages are visible at once, not 1", len(got))
		}
		if _, err := store.TruncateOutbox(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := late.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := drain(t, store); len(got) != 1 || got[0] != "template=1" {
		t.Errorf("after the late commit: %v", got)
	}
	mustExec(t, pool, `COMMIT PREPARED 'later'`)
	if got := drain(t, store); len(got) != 1 || got[0] != "template=1" {
		t.Errorf("after the prepared transaction: %v", got)
	}
	if err := never.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := drain(t, store); len(got) != 0 {
		t.Errorf("after the rollback: %v", got)
	}
}

// TestTruncateUnderLoad truncates all the time, also the partition that is in use, while
// messages flow: none is lost.
func TestTruncateUnderLoad(t *testing.T) {
	t.Parallel()
	pool, store := openNotes(t, postgres.Table{})
	var l log
	var records []*versioning.Record
	for i := range 8 {
		records = append(records, l.did(key(i), "made", 0))
	}
	apply(t, store, records...)
	ctx, stop := context.WithTimeout(t.Context(), 4*time.Second)
	defer stop()
	var group sync.WaitGroup
	made := make([]int, 8)
	for i := range made {
		group.Go(func() {
			for made[i] = 1; ctx.Err() == nil; made[i]++ {
				outcome, err := store.Do(t.Context(), versioning.Change{
					Machine: "thing", Key: key(i), Event: "did", Data: int64(made[i]), MessageID: fmt.Sprint(made[i]),
				})
				if err != nil || outcome.Verdict != versioning.Applied {
					t.Error(outcome, err)
					return
				}
			}
		})
	}
	truncated := 0
	group.Go(func() {
		for slot := 0; ctx.Err() == nil; slot = (slot + 1) % 8 {
			ok, err := postgres.TruncateSlot(t.Context(), store, slot)
			if err != nil {
				t.Error(err)
				return
			}
			if ok {
				truncated++
			}
		}
	})
	got := 0
	var read sync.WaitGroup
	done := make(chan struct{})
	read.Go(func() {
		for last := false; ; {
			got += len(drain(t, store))
			if last {
				return
			}
			select {
			case <-done:
				last = true
			default:
			}
		}
	})
	group.Wait()
	close(done)
	read.Wait()
	want := 0
	for _, n := range made {
		want += n
	}
	if got != want || truncated < 10 {
		t.Errorf("%d messages, not %d; %d partitions were truncated", got, want, truncated)
	}
	wantRows(t, pool, `SELECT count(*)::text FROM pawl.outbox`, "0")
}

// TestTruncateAfterVacuum checks that indexes are freed too after VACUUM has freed a partition: it
// never makes an index smaller.
func TestTruncateAfterVacuum(t *testing.T) {
	t.Parallel()
	pool, store := openNotes(t, postgres.Table{})
	before := outboxSize(t, pool)
	mustExec(t, pool, `INSERT INTO pawl.outbox (token, slot, lane, n, messages) SELECT g, g % 8, 0, 1, '' FROM generate_series(1, 20000) AS g; DELETE FROM pawl.outbox`)
	mustExec(t, pool, `VACUUM (TRUNCATE) pawl.outbox`)
	wantRows(t, pool, `SELECT sum(pg_relation_size(inhrelid))::text FROM pg_inherits WHERE inhparent = 'pawl.outbox'::regclass`, "0")
	testenv.Eventually(t, 30*time.Second, func() error { // until another partition is the current one
		if _, err := store.TruncateOutbox(t.Context()); err != nil {
			return err
		}
		if after := outboxSize(t, pool); after > before {
			return fmt.Errorf("the outbox has %d bytes; it had %d", after, before)
		}
		return nil
	})
}
