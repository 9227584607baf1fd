package migrations

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

//go:embed sql/*.sql
var files embed.FS

// Version is the version of the schema that this build of the framework needs.
const Version = 3

// lockID is the advisory lock that keeps two migrations apart: "pawl" in ASCII.
const lockID = 0x7061776c

// ErrSchema is what every [*SchemaError] is.
var ErrSchema = errors.New("schema pawl does not fit this build")

// A SchemaError says that the database's schema is not at [Version].
type SchemaError struct {
	Have int64 // 0: there is no schema pawl
	Want int64
}

func (e *SchemaError) Error() string {
	switch {
	case e.Have == 0:
		return fmt.Sprintf("there is no schema pawl in this database; make it with: %s", fix)
	case e.Have < e.Want:
		return fmt.Sprintf("schema pawl is at version %d, this build needs %d; bring it up with: %s", e.Have, e.Want, fix)
	}
	return fmt.Sprintf("schema pawl is at version %d, this build knows only %d: "+
		"run a build that is as new as the schema, or, with the newer build, take the schema down", e.Have, e.Want)
}

// Is reports whether target is [ErrSchema].
func (e *SchemaError) Is(target error) bool { return target == ErrSchema }

const fix = `go run github.com/pawl-go/pawl/migrations/cmd/pawl-migrate up --database-url "$DATABASE_URL" (or call migrations.Up)`

// A Querier is what [Check] needs: a pgx pool, connection or transaction.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Check returns a [*SchemaError] unless the database's schema pawl is at
// [Version]. Any other error is one of reaching the database. It needs SELECT
// on pawl.goose_db_version and USAGE on the schema, no more.
func Check(ctx context.Context, db Querier) error {
	// Asked for first, because a query of a table that is not there is an error,
	// and would spoil the caller's transaction.
	const there = `SELECT to_regclass('pawl.goose_db_version') IS NOT NULL`
	const latest = `
SELECT coalesce(max(version_id), 0) FROM (
	SELECT DISTINCT ON (version_id) version_id, is_applied
	FROM pawl.goose_db_version ORDER BY version_id, id DESC
) AS v WHERE is_applied`
	var have int64
	var isThere bool
	err := db.QueryRow(ctx, there).Scan(&isThere)
	if err == nil && isThere {
		err = db.QueryRow(ctx, latest).Scan(&have)
	}
	if err != nil {
		return fmt.Errorf("read the version of schema pawl, which needs USAGE on it and SELECT on pawl.goose_db_version: %w", err)
	}
	if have != Version {
		return &SchemaError{Have: have, Want: Version}
	}
	return nil
}

// Up brings the schema to [Version]. The role needs CREATE on the database. A
// schema that is there already is left as it is; a newer one is a
// [*SchemaError]. databaseURL is a PostgreSQL connection string.
func Up(ctx context.Context, databaseURL string) error {
	return run(ctx, databaseURL, func(p *goose.Provider) error {
		have, err := p.GetDBVersion(ctx)
		if err != nil {
			return err
		}
		if have > Version {
			return &SchemaError{Have: have, Want: Version}
		}
		_, err = p.Up(ctx)
		return err
	})
}

// Down takes the schema's tables away, and with them all history, parked
// records and dead letters. The entity tables are not touched.
func Down(ctx context.Context, databaseURL string) error {
	return run(ctx, databaseURL, func(p *goose.Provider) error {
		_, err := p.DownTo(ctx, 0)
		return err
	})
}

func run(ctx context.Context, databaseURL string, do func(*goose.Provider) error) (err error) {
	config, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec // a pooler may give each transaction another session
	db := stdlib.OpenDB(*config)
	defer func() { err = errors.Join(err, db.Close()) }()

	// goose keeps its version table in the schema, so the schema comes first.
	// The lock keeps two concurrent CREATE SCHEMA IF NOT EXISTS from colliding.
	const schema = `
DO $$ BEGIN
	IF to_regnamespace('pawl') IS NULL THEN
		PERFORM pg_advisory_xact_lock(x'7061776c'::bigint);
		CREATE SCHEMA IF NOT EXISTS pawl;
	END IF;
END $$`
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return fmt.Errorf("create schema pawl: %w", err)
	}
	provider, err := newProvider(db)
	if err != nil {
		return fmt.Errorf("load the migrations of schema pawl: %w", err)
	}
	if err := locked(ctx, db, func() error { return do(provider) }); err != nil {
		return fmt.Errorf("migrate schema pawl: %w", err)
	}
	return nil
}

// locked runs work while no other migration runs, and waits up to five minutes for
// that. The lock belongs to a transaction, which has its session for itself behind a
// pooler too; one of a session could be left behind there, and would stay. Who waits
// holds no session, which the one that works may need: it takes two.
func locked(ctx context.Context, db *sql.DB, work func() error) error {
	const wait, pause = 5 * time.Minute, 100 * time.Millisecond
	for deadline := time.Now().Add(wait); ; {
		ran, err := tryLocked(ctx, db, work)
		if ran || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("another migration has been running for %v", wait)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// tryLocked runs work, unless another migration runs. No limit of time ends the
// transaction of the lock, which is idle while the work goes on.
func tryLocked(ctx context.Context, db *sql.DB, work func() error) (ran bool, err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback() }() // it has written nothing
	const unlimited = `
SELECT set_config(name, '0', true) FROM pg_settings
WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')`
	if _, err := tx.ExecContext(ctx, unlimited); err != nil {
		return false, err
	}
	var isOurs bool
	if err := tx.QueryRowContext(ctx, `SELECT pg_try_advisory_xact_lock($1)`, int64(lockID)).Scan(&isOurs); err != nil || !isOurs {
		return false, err
	}
	return true, work()
}

func newProvider(db *sql.DB) (*goose.Provider, error) {
	sqlFiles, err := fs.Sub(files, "sql")
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectPostgres, db, sqlFiles,
		goose.WithTableName("pawl.goose_db_version"),
		goose.WithDisableGlobalRegistry(true))
}
