package migrations

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

//go:embed sql/*.sql
var files embed.FS

// Version is the version of the schema that this build of the framework needs.
const Version = 3

// ErrSchema is what every [*SchemaError] is.
var ErrSchema = errors.New("the framework's schema does not fit this build")

// A SchemaError says that the framework's schema in a database is not at [Version].
type SchemaError struct {
	Schema Schema
	Have   int64 // 0: there is no such schema
	Want   int64
}

func (e *SchemaError) Error() string {
	switch {
	case e.Have == 0:
		return fmt.Sprintf("there is no schema %s in this database; make it with: %s", e.Schema, e.Schema.fix())
	case e.Have < e.Want:
		return fmt.Sprintf("schema %s is at version %d, this build needs %d; bring it up with: %s", e.Schema, e.Have, e.Want, e.Schema.fix())
	}
	return fmt.Sprintf("schema %s is at version %d, this build knows only %d: "+
		"run a build that is as new as the schema, or, with the newer build, take the schema down", e.Schema, e.Have, e.Want)
}

// Is reports whether target is [ErrSchema].
func (e *SchemaError) Is(target error) bool { return target == ErrSchema }

// fix says how to bring the schema up.
func (s Schema) fix() string {
	flag := ""
	if s.String() != DefaultSchema {
		flag = " --schema '" + strings.ReplaceAll(s.String(), "'", `'\''`) + "'"
	}
	return "go run github.com/pawl-go/pawl/migrations/cmd/pawl-migrate up --database-url \"$DATABASE_URL\"" + flag + " (or call migrations.Up)"
}

// A Querier is what [Check] needs: a pgx pool, connection or transaction.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Check is [Schema.Check] for the [DefaultSchema].
func Check(ctx context.Context, db Querier) error { return Schema("").Check(ctx, db) }

// Up is [Schema.Up] for the [DefaultSchema].
func Up(ctx context.Context, databaseURL string) error { return Schema("").Up(ctx, databaseURL) }

// Down is [Schema.Down] for the [DefaultSchema].
func Down(ctx context.Context, databaseURL string) error { return Schema("").Down(ctx, databaseURL) }

// Check returns a [*SchemaError] unless the schema is there, at [Version]. Any other
// error is one of the schema's name, or of reaching the database. It needs SELECT on
// the schema's goose_db_version and USAGE on the schema, no more.
func (s Schema) Check(ctx context.Context, db Querier) error {
	if err := s.Validate(); err != nil {
		return err
	}
	// Asked for first, because a query of a table that is not there is an error,
	// and would spoil the caller's transaction. Each is sent in one message: behind a
	// pooler, the second one of two could reach another session.
	const there = `SELECT to_regclass($1) IS NOT NULL`
	latest := s.SQL(`
SELECT coalesce(max(version_id), 0) FROM (
	SELECT DISTINCT ON (version_id) version_id, is_applied
	FROM pawl.goose_db_version ORDER BY version_id, id DESC
) AS v WHERE is_applied`)
	var have int64
	var isThere bool
	err := db.QueryRow(ctx, there, pgx.QueryExecModeExec, s.versionTable()).Scan(&isThere)
	if err == nil && isThere {
		err = db.QueryRow(ctx, latest, pgx.QueryExecModeExec).Scan(&have)
	}
	if err != nil {
		return fmt.Errorf("read the version of schema %s, which needs USAGE on it and SELECT on %s: %w", s, s.versionTable(), err)
	}
	if have != Version {
		return &SchemaError{Schema: s, Have: have, Want: Version}
	}
	return nil
}

// Up makes the schema, or brings it to [Version]. The role needs CREATE on the
// database. A schema that is there already is left as it is; a newer one is a
// [*SchemaError]. databaseURL is a PostgreSQL connection string.
func (s Schema) Up(ctx context.Context, databaseURL string) error {
	return s.run(ctx, databaseURL, func(p *goose.Provider) error {
		have, err := p.GetDBVersion(ctx)
		if err != nil {
			return err
		}
		if have > Version {
			return &SchemaError{Schema: s, Have: have, Want: Version}
		}
		_, err = p.Up(ctx)
		return err
	})
}

// Down takes the schema's tables away, and with them all history, parked
// records and dead letters. The entity tables are not touched.
func (s Schema) Down(ctx context.Context, databaseURL string) error {
	return s.run(ctx, databaseURL, func(p *goose.Provider) error {
		_, err := p.DownTo(ctx, 0)
		return err
	})
}

func (s Schema) run(ctx context.Context, databaseURL string, do func(*goose.Provider) error) (err error) {
	if err := s.Validate(); err != nil {
		return err
	}
	config, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec // a pooler may give each transaction another session
	db := stdlib.OpenDB(*config)
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := s.create(ctx, db); err != nil {
		return fmt.Errorf("create schema %s: %w", s, err)
	}
	provider, err := s.newProvider(db)
	if err != nil {
		return fmt.Errorf("load the migrations of schema %s: %w", s, err)
	}
	if err := s.locked(ctx, db, func() error { return do(provider) }); err != nil {
		return fmt.Errorf("migrate schema %s: %w", s, err)
	}
	return nil
}

// create makes the schema if it is not there: goose keeps its version table in it. The
// lock keeps two concurrent CREATE SCHEMA IF NOT EXISTS from colliding.
func (s Schema) create(ctx context.Context, db *sql.DB) error {
	var isThere bool
	err := db.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)`, s.String()).Scan(&isThere)
	if err != nil || isThere {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a COMMIT it does nothing, and before it the first error counts
	if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, s.lockID()); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `CREATE SCHEMA IF NOT EXISTS `+s.Quoted()); err != nil {
		return err
	}
	return tx.Commit()
}

func (s Schema) newProvider(db *sql.DB) (*goose.Provider, error) {
	all, err := s.migrations()
	if err != nil {
		return nil, err
	}
	store, err := database.NewStore(database.DialectPostgres, s.versionTable())
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectCustom, db, nil,
		goose.WithStore(versions{store}),
		goose.WithGoMigrations(all...),
		goose.WithDisableGlobalRegistry(true))
}

// locked runs work while no other migration runs, and waits up to five minutes for
// that. The lock belongs to a transaction, which has its session for itself behind a
// pooler too; one of a session could be left behind there, and would stay. Who waits
// holds no session, which the one that works may need: it takes two.
func (s Schema) locked(ctx context.Context, db *sql.DB, work func() error) error {
	const wait, pause = 5 * time.Minute, 100 * time.Millisecond
	for deadline := time.Now().Add(wait); ; {
		ran, err := s.tryLocked(ctx, db, work)
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
func (s Schema) tryLocked(ctx context.Context, db *sql.DB, work func() error) (ran bool, err error) {
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
	if err := tx.QueryRowContext(ctx, `SELECT pg_try_advisory_xact_lock($1)`, s.lockID()).Scan(&isOurs); err != nil || !isOurs {
		return false, err
	}
	return true, work()
}

// versionTable is the quoted name of goose's table.
func (s Schema) versionTable() string { return s.Quoted() + ".goose_db_version" }

// versions is goose's store. Its own does not find a table whose name is quoted.
type versions struct{ database.Store }

// TableExists is called by goose where a store has it.
func (v versions) TableExists(ctx context.Context, db database.DBTxConn) (exists bool, err error) {
	err = db.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, v.Tablename()).Scan(&exists)
	return exists, err
}

// migrations returns the migrations, written for the schema. goose gets them as
// functions: its parser looks for semicolons, and a schema's name may hold some.
func (s Schema) migrations() (all []*goose.Migration, err error) {
	names, err := fs.Glob(files, "sql/*.sql")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		version, err := goose.NumericComponent(path.Base(name))
		if err != nil {
			return nil, err
		}
		up, down, ok := strings.Cut(string(text), "-- +goose Down")
		if !ok {
			return nil, fmt.Errorf("migration %s has no way down", name)
		}
		all = append(all, goose.NewGoMigration(version, s.statements(up), s.statements(down)))
	}
	return all, nil
}

func (s Schema) statements(text string) *goose.GoFunc {
	return &goose.GoFunc{RunTx: func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, s.SQL(text))
		return err
	}}
}
