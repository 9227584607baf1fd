package main

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/pawl-go/pawl/jobs"
	"github.com/pawl-go/pawl/migrations/migrate"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migrateUp creates or upgrades what this build needs in the database: the framework's
// schema pawl, River's tables, and the worker's own schema orderflow. Each has its own
// table of versions, so their migrations do not interfere with each other or with yours.
func migrateUp(ctx context.Context, databaseURL string) error {
	if err := migrate.Up(ctx, databaseURL); err != nil {
		return err
	}
	if err := jobs.MigrateIn(ctx, databaseURL, riverSchema); err != nil {
		return err
	}
	return migrateOwn(ctx, databaseURL, func(_ *sql.DB, p *goose.Provider) error {
		_, err := p.Up(ctx)
		return err
	})
}

// migrateDown drops all orders and everything the framework stores about them.
func migrateDown(ctx context.Context, databaseURL string) error {
	err := migrateOwn(ctx, databaseURL, func(db *sql.DB, p *goose.Provider) error {
		if _, err := db.ExecContext(ctx, "DROP SCHEMA IF EXISTS "+riverSchema+" CASCADE"); err != nil {
			return err
		}
		_, err := p.DownTo(ctx, 0)
		return err
	})
	if err != nil {
		return err
	}
	return migrate.Down(ctx, databaseURL)
}

// migrateOwn runs the worker's own migrations. The driver "pgx" is registered by
// package migrate.
func migrateOwn(ctx context.Context, databaseURL string, do func(*sql.DB, *goose.Provider) error) (err error) {
	db, err := sql.Open("pgx", databaseURL)
	if err != nil {
		return fmt.Errorf("database URL: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()

	if _, err := db.ExecContext(ctx, "CREATE SCHEMA IF NOT EXISTS orderflow"); err != nil {
		return fmt.Errorf("create schema orderflow: %w", err)
	}
	provider, err := ownMigrations(db)
	if err != nil {
		return fmt.Errorf("load the migrations of schema orderflow: %w", err)
	}
	if err := do(db, provider); err != nil {
		return fmt.Errorf("migrate schema orderflow: %w", err)
	}
	return nil
}

func ownMigrations(db *sql.DB) (*goose.Provider, error) {
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return nil, err
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithTableName("orderflow.goose_db_version"),
		goose.WithSessionLocker(locker),
		goose.WithDisableGlobalRegistry(true))
}
