package postgres_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// TestSweepAfterRollBack checks that an older version judges what a newer one has parked because
// the entity's state was retired: after a roll back, nothing else may happen to the entity.
func TestSweepAfterRollBack(t *testing.T) {
	t.Parallel()
	pool, old := openOrders(t)
	var l log
	apply(t, old, l.say("a", "placed"), l.say("a", "captured"), l.say("b", "placed"))
	newer := open(t, pool, postgres.Table{Machine: renamed(2, true), Name: "orders"})
	wantVerdicts(t, apply(t, newer, l.say("a", "shipped"), l.say("b", "shipped")), "early not_yet", "early not_yet")
	swept, err := old.Sweep(t.Context(), versioning.Reading{})
	if err != nil || len(swept.Released) != 1 {
		t.Errorf("Sweep = %+v, %v", swept, err)
	}
	wantRows(t, pool, `SELECT id || ' ' || state || ' ' || version FROM orders ORDER BY id`, "a shipped 3", "b pending 1")
	wantRows(t, pool, `SELECT entity || ' ' || definition FROM pawl.parked`, "b 2")
}

// migrateVariable has the database of a process that migrates and is killed, in its environment.
const migrateVariable = "PAWL_TEST_MIGRATE"

const (
	migratedRows  = 3000
	migratedBatch = 40
)

type counted struct {
	Counted int64 `db:"counted"`
}

// countedOrder is renamed, and each migration counts in the row.
var countedOrder = func() *statemachine.Machine {
	d := renamed(2, true).Definition()
	d.Migrations[0].Do = statemachine.Do(func(_ *statemachine.Firing, row *counted, _ struct{}) error {
		row.Counted++
		return nil
	})
	return statemachine.MustCompile(d)
}()

// runMigrate is a process that migrates. It prints a line after each batch.
func runMigrate(url string) {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		panic(err)
	}
	defer pool.Close()
	store, err := postgres.Open(ctx, pool, postgres.Table{Machine: countedOrder, Name: "orders"})
	if err != nil {
		panic(err)
	}
	done, err := store.Migrate(ctx, postgres.Migration{
		Batch: migratedBatch, Progress: func(m postgres.Migrated) { fmt.Fprintln(os.Stdout, m.Moved) },
	})
	if err != nil || done.Left > 0 {
		panic(fmt.Sprintf("%+v, %v", done, err))
	}
}

// migrateIn starts a process that migrates, kills it after a number of batches, and returns
// whether it was killed before it had finished.
func migrateIn(t *testing.T, url string, batches int) (killed bool) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), migrateVariable+"="+url)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Error(err)
		return false
	}
	lines := bufio.NewScanner(out)
	for range batches {
		if !lines.Scan() {
			break
		}
	}
	_ = cmd.Process.Kill() // fails if it has ended
	for lines.Scan() {
		continue // Wait wants everything to be read
	}
	if err = cmd.Wait(); err != nil && !strings.Contains(err.Error(), "killed") {
		t.Errorf("Migrate: %v\n%s", err, stderr.String())
	}
	return err != nil
}

// TestMigrateKilled kills processes that migrate, two at a time, while a worker gets records about
// the same entities. In the end everything is as if Migrate had run once.
func TestMigrateKilled(t *testing.T) {
	t.Parallel()
	pool, _ := openOrders(t)
	mustExec(t, pool, `ALTER TABLE orders ADD counted bigint NOT NULL DEFAULT 0`)
	mustExec(t, pool, `INSERT INTO orders (id, state, version, counted) SELECT to_char(n, 'FM0000'), 'paid', 2, 0 FROM generate_series(1, $1::integer) AS n`, migratedRows)
	store := open(t, pool, postgres.Table{Machine: countedOrder, Name: "orders"})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)

	migrating := make(chan int, 2)
	for i := range 2 {
		go func() {
			rng, kills := rand.New(rand.NewPCG(seed, uint64(i))), 0
			for migrateIn(t, pool.Config().ConnString(), rng.IntN(12)) {
				kills++
			}
			migrating <- kills
		}()
	}
	var l log
	for n := 1; n <= migratedRows; n += 100 {
		var records []*versioning.Record
		for i := range 100 {
			records = append(records, l.say(fmt.Sprintf("%04d", n+i), "shipped"))
		}
		apply(t, store, records...)
	}
	t.Logf("killed %d and %d times", <-migrating, <-migrating)
	if _, err := store.Migrate(t.Context(), postgres.Migration{}); err != nil {
		t.Error(err)
	}
	if _, err := store.Sweep(t.Context(), versioning.Reading{}); err != nil {
		t.Error(err)
	}
	wantRows(t, pool, `SELECT count(*) || ' ' || state || ' ' || version || ' ' || counted FROM orders GROUP BY state, version, counted`,
		fmt.Sprintf("%d shipped 4 1", migratedRows))
	wantRows(t, pool, `SELECT count(*) || ' ' || event || ' ' || version FROM pawl.transitions GROUP BY event, version ORDER BY version`,
		fmt.Sprintf("%d pawl.migrated 3", migratedRows), fmt.Sprintf("%d shipped 4", migratedRows))
	wantRows(t, pool, `SELECT p::text FROM pawl.parked AS p`)
	wantRows(t, pool, `SELECT d::text FROM pawl.dead_letters AS d`)
}
