package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// downTo downgrades schema pawl to a version with the migration files.
func downTo(t *testing.T, pool *pgxpool.Pool, version int) {
	t.Helper()
	for v := migrations.Version; v > version; v-- {
		names, err := filepath.Glob(fmt.Sprintf("../../migrations/migrate/sql/%05d_*.sql", v))
		if err != nil || len(names) != 1 {
			t.Fatalf("migration %d: %v, %v", v, names, err)
		}
		text, err := os.ReadFile(names[0])
		if err != nil {
			t.Fatal(err)
		}
		_, down, ok := strings.Cut(string(text), "-- +goose Down\n")
		if !ok {
			t.Fatalf("migration %d has no Down section", v)
		}
		mustExec(t, pool, down)
		mustExec(t, pool, `DELETE FROM pawl.goose_db_version WHERE version_id = $1`, v)
	}
}

// expand does what a migration of a newer build may do while workers of this build run:
// it adds columns, tables and indexes, and keeps what this build uses.
const expand = `
ALTER TABLE pawl.transitions ADD COLUMN zone text NOT NULL DEFAULT 'eu', ADD COLUMN note text;
ALTER TABLE pawl.parked ADD COLUMN zone text NOT NULL DEFAULT 'eu';
ALTER TABLE pawl.dead_letters ADD COLUMN zone text NOT NULL DEFAULT 'eu';
ALTER TABLE pawl.marks ADD COLUMN zone text NOT NULL DEFAULT 'eu';
ALTER TABLE pawl.caught_up ADD COLUMN zone text NOT NULL DEFAULT 'eu';
ALTER TABLE pawl.tables ADD COLUMN zone text NOT NULL DEFAULT 'eu';
CREATE INDEX transitions_zone ON pawl.transitions (zone);
CREATE TABLE pawl.zones (zone text PRIMARY KEY);
CREATE DOMAIN pawl.zone AS text;
INSERT INTO pawl.goose_db_version (version_id, is_applied) VALUES (` + newer + `, true)`

// newer is a version that no build ships.
const newer = "1000"

// TestTooOldSchema checks that Open rejects the version before the oldest, and says
// what to run.
func TestTooOldSchema(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, withOrders)
	downTo(t, pool, migrations.Oldest-1)
	_, err := postgres.Open(t.Context(), pool, postgres.Table{Machine: order, Name: "orders"})
	schema, ok := errors.AsType[*migrations.SchemaError](err)
	if !ok || schema.Have != migrations.Oldest-1 || schema.Want != migrations.Oldest || !strings.Contains(err.Error(), "pawl migrate up") {
		t.Errorf("Open on the version before the oldest: %v", err)
	}
}

// TestOldestSchema runs every operation of a store on the oldest schema that this build
// works with. TestConformance runs the suite there, which has no redrives and no copies.
func TestOldestSchema(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, withOrders)
	downTo(t, pool, migrations.Oldest)
	wantRows(t, pool, `SELECT max(version_id)::text FROM pawl.goose_db_version`, strconv.Itoa(migrations.Oldest))
	store := open(t, pool, postgres.Table{Machine: order, Name: "orders"})

	var l log
	wantVerdicts(t, apply(t, store, l.say("a", "placed"), l.say("b", "captured"), l.say("c", "captured"), l.say("d", "nosuch")),
		"applied", "early no_entity", "early no_entity", "rejected unknown_event")
	result := apply(t, store, l.say("a", "captured"), l.say("b", "placed"))
	wantVerdicts(t, result, "applied", "applied")
	if len(result.Released) != 1 {
		t.Errorf("released %+v, want the record of b", result.Released)
	}
	parked, err := store.Parked(t.Context(), postgres.ParkedFilter{})
	if err != nil || len(parked) != 1 || parked[0].Entity.Key != "c" {
		t.Errorf("Parked = %+v, %v; want the record of c", parked, err)
	}

	mustExec(t, pool, `INSERT INTO orders (id, state, version) VALUES ('c', 'pending', 1)`)
	swept, err := store.Sweep(t.Context(), versioning.Reading{})
	if err != nil || len(swept.Released) != 1 || swept.Released[0].Outcome.Verdict != versioning.Applied {
		t.Errorf("Sweep = %+v, %v; want one applied", swept, err)
	}

	letters, err := store.DeadLetters(t.Context(), postgres.DeadLetterFilter{})
	if err != nil || len(letters) != 1 {
		t.Fatalf("DeadLetters = %+v, %v; want one", letters, err)
	}
	copied, err := store.CopyDeadLetters(t.Context(), map[string][]int32{"orders": {0}}, 10,
		func(_ context.Context, some []versioning.DeadLetter) ([]int64, error) {
			return []int64{some[0].ID}, nil
		})
	if err != nil || copied != 1 {
		t.Errorf("CopyDeadLetters = %d, %v; want 1", copied, err)
	}
	fixed := func(*versioning.Record) ([]versioning.Change, error) {
		return []versioning.Change{{Machine: "order", Key: "d", Event: "placed"}}, nil
	}
	dry, err := store.DryRedrive(t.Context(), letters, fixed)
	if err != nil || len(dry) != 1 || dry[0].Verdict != versioning.Applied {
		t.Errorf("DryRedrive = %+v, %v; want one applied", dry, err)
	}
	redriven, err := store.Redrive(t.Context(), letters, fixed)
	if err != nil || len(redriven) != 1 || redriven[0].Verdict != versioning.Applied {
		t.Errorf("Redrive = %+v, %v; want one applied", redriven, err)
	}

	topic := [16]byte{1}
	_, server, err := store.Marks(t.Context(), "g", [][16]byte{topic})
	if err != nil {
		t.Fatal(err)
	}
	want := []versioning.Mark{{Topic: "orders", TopicID: topic, Offset: l.next}}
	if err := store.SetMarks(t.Context(), "g", server, want); err != nil {
		t.Errorf("SetMarks: %v", err)
	}
	got, _, err := store.Marks(t.Context(), "g", [][16]byte{topic})
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("Marks: %v (-want, +got):\n%s", err, diff)
	}

	wantRows(t, pool, `SELECT id || ' ' || state || ' ' || version FROM orders ORDER BY id`, "a paid 2", "b paid 2", "c paid 2", "d pending 1")
	wantRows(t, pool, `SELECT count(*)::text FROM pawl.transitions`, "6")
	wantRows(t, pool, `SELECT entity FROM pawl.parked UNION ALL SELECT entity FROM pawl.dead_letters`)
}

// TestUpgradeUnderWorker checks that a store keeps working while the schema is
// upgraded, and that a worker of this build can start after it.
func TestUpgradeUnderWorker(t *testing.T) {
	t.Parallel()
	pool, old := openOrders(t)
	var l log
	wantVerdicts(t, apply(t, old, l.say("a", "placed"), l.say("b", "captured"), l.say("c", "nosuch")),
		"applied", "early no_entity", "rejected unknown_event")
	mustExec(t, pool, expand)
	wantVerdicts(t, apply(t, old, l.say("a", "captured"), l.say("b", "placed"), l.say("c", "nosuch")),
		"applied", "applied", "rejected unknown_event")
	if _, err := old.Sweep(t.Context(), versioning.Reading{}); err != nil {
		t.Errorf("Sweep: %v", err)
	}

	restarted := open(t, pool, postgres.Table{Machine: order, Name: "orders"})
	wantVerdicts(t, apply(t, restarted, l.say("a", "shipped"), l.say("d", "placed"), l.say("e", "captured")),
		"applied", "applied", "early no_entity")
	wantRows(t, pool, `SELECT id || ' ' || state FROM orders ORDER BY id`, "a shipped", "b paid", "d pending")
	wantRows(t, pool, `SELECT count(*) || ' ' || min(zone) FROM pawl.transitions`, "6 eu")
}

// releaseVariable is set by .ci/run to the release of PostgreSQL that it has chosen.
const releaseVariable = "PAWL_TEST_POSTGRES_RELEASE"

// TestServerRelease checks that the tests run on the release that was chosen.
func TestServerRelease(t *testing.T) {
	t.Parallel()
	release := os.Getenv(releaseVariable)
	if release == "" {
		t.Skip(releaseVariable + " is not set")
	}
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		t.Fatalf("%s=%s: %v", releaseVariable, release, err)
	}
	pool := testenv.Pool(t)
	wantRows(t, pool, `SELECT current_setting('server_version_num')`, strconv.Itoa(major*10000+minor))
}
