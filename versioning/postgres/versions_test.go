package postgres_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	if !ok || schema.Have != migrations.Oldest-1 || schema.Want != migrations.Oldest || !strings.Contains(err.Error(), "pawl-migrate up") {
		t.Errorf("Open on the version before the oldest: %v", err)
	}
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
