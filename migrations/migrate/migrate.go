package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/pawl-go/pawl/migrations"
)

// Up is [UpIn] for the [migrations.DefaultSchema].
func Up(ctx context.Context, databaseURL string) error { return UpIn(ctx, databaseURL, "") }

// UpIn creates the schema, or upgrades it to [migrations.Version]. It leaves a schema of
// that version as it is, and a newer one too, and returns nil: this build works with it,
// and the migration step of an older release must not fail when that release is deployed
// again. Each migration is one transaction, so after an error the schema is at the last
// version that was reached, and the next call continues from there.
//
// databaseURL is a PostgreSQL connection string. The role needs CREATE on the database.
// An empty schema means pawl. UpIn validates the name first
// ([migrations.Schema.Validate]). Several processes may call UpIn at the same time: it waits up to five
// minutes for another migration of the same schema to end.
func UpIn(ctx context.Context, databaseURL string, schema migrations.Schema) error {
	return run(ctx, databaseURL, schema, func(p *goose.Provider) error {
		have, err := p.GetDBVersion(ctx)
		if err != nil || have > migrations.Version {
			return err
		}
		_, err = p.Up(ctx)
		return err
	})
}

// Down is [DownIn] for the [migrations.DefaultSchema].
func Down(ctx context.Context, databaseURL string) error { return DownIn(ctx, databaseURL, "") }

// DownIn drops the schema's tables, and with them all history, parked records and dead
// letters. It does not touch the entity tables. It returns nil if the schema does
// not exist or has no tables. If the schema is newer than [migrations.Version], it returns
// an error and drops nothing: only a build that is as new knows how. Its arguments are
// those of [UpIn].
func DownIn(ctx context.Context, databaseURL string, schema migrations.Schema) error {
	return run(ctx, databaseURL, schema, func(p *goose.Provider) error {
		have, err := p.GetDBVersion(ctx)
		if err != nil {
			return err
		}
		if have > migrations.Version {
			return fmt.Errorf("the schema is at version %d, and this build can drop only versions up to %d: "+
				"run pawl migrate down of a build that is as new as the schema", have, migrations.Version)
		}
		_, err = p.DownTo(ctx, 0)
		return err
	})
}

// run calls do with the schema's migrations while no other migration of it runs.
func run(ctx context.Context, databaseURL string, schema migrations.Schema, do func(*goose.Provider) error) (err error) {
	if err := schema.Validate(); err != nil {
		return err
	}
	config, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec // a pooler may give each transaction a different session
	db := stdlib.OpenDB(*config)
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := create(ctx, db, schema); err != nil {
		return fmt.Errorf("create schema %s: %w", schema, err)
	}
	provider, err := newProvider(db, schema)
	if err != nil {
		return fmt.Errorf("load the migrations of schema %s: %w", schema, err)
	}
	if err := locked(ctx, db, schema, func() error { return do(provider) }); err != nil {
		return fmt.Errorf("migrate schema %s: %w", schema, err)
	}
	return nil
}

// create creates the schema if it does not exist: goose keeps its version table in it.
// The lock keeps two concurrent CREATE SCHEMA IF NOT EXISTS from colliding.
func create(ctx context.Context, db *sql.DB, schema migrations.Schema) error {
	var exists bool
	err := db.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)`, schema.String()).Scan(&exists)
	if err != nil || exists {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // it does nothing after a COMMIT, and otherwise the first error counts
	if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, lockID(schema)); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `CREATE SCHEMA IF NOT EXISTS `+schema.Quoted()); err != nil {
		return err
	}
	return tx.Commit()
}
