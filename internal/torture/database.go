package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/internal/embedded"
	"github.com/pawl-go/pawl/jobs"
	"github.com/pawl-go/pawl/migrations/migrate"
)

// A database is a PostgreSQL server, its asynchronous standby and a base
// backup. Sometimes one of these replaces the server.
type database struct {
	mu      sync.Mutex // held while a server is being replaced or has no free connection
	primary *embedded.Postgres
	standby *embedded.Postgres
	backup  *embedded.Postgres // nil: no backup now

	killed time.Time // when the last server was dead that has been replaced
	losses []loss
}

func startDatabase(ctx context.Context) (*database, error) {
	primary, err := embedded.StartPostgres(ctx, embedded.PostgresConfig{Durable: true})
	if err != nil {
		return nil, err //nolint:wrapcheck // it needs no context
	}
	d := &database{primary: primary}
	if err := d.prepare(ctx); err != nil {
		return nil, errors.Join(err, d.close())
	}
	if d.standby, err = primary.Standby(ctx); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *database) close() (err error) {
	for _, server := range []*embedded.Postgres{d.primary, d.standby, d.backup} {
		if server != nil {
			err = errors.Join(err, server.Close())
		}
	}
	return err
}

// url returns the connection string of the primary, or of a proxy for it.
func (d *database) url(proxy string) string {
	u, err := url.Parse(d.primary.URL())
	if err != nil {
		panic(err) // package url made it
	}
	if proxy != "" {
		u.Host = proxy
	}
	return u.String()
}

// address returns the primary's host and port.
func (d *database) address() string {
	u, err := url.Parse(d.primary.URL())
	if err != nil {
		panic(err)
	}
	return u.Host
}

// prepare creates the tables and checks that commits are durable.
func (d *database) prepare(ctx context.Context) error {
	for _, t := range tenants {
		if err := migrate.UpIn(ctx, d.url(""), t.pawl()); err != nil {
			return err //nolint:wrapcheck // it says it all
		}
		if err := jobs.MigrateIn(ctx, d.url(""), t.riverSchema()); err != nil {
			return err //nolint:wrapcheck // as above
		}
	}
	conn, err := pgx.Connect(ctx, d.url(""))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }() // closing releases everything it holds
	for _, setting := range []string{"fsync", "full_page_writes", "synchronous_commit"} {
		var value string
		if err := conn.QueryRow(ctx, "SELECT current_setting($1)", setting).Scan(&value); err != nil {
			return fmt.Errorf("read the setting %s: %w", setting, err)
		}
		if value != "on" {
			return fmt.Errorf("PostgreSQL has %s=%s; set it to on, the guarantees need it", setting, value)
		}
	}
	for _, t := range tenants {
		if _, err := conn.Exec(ctx, t.sql(schema)); err != nil {
			return fmt.Errorf("create the tables of tenant %s: %w", t, err)
		}
	}
	return nil
}

func execOn(ctx context.Context, server *embedded.Postgres, statements ...string) error {
	conn, err := pgx.Connect(ctx, server.URL())
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }() // closing releases everything it holds
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// cutOff disconnects the standby, so that it misses later commits.
func (d *database) cutOff(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.standby == nil {
		return nil // see replace
	}
	return execOn(ctx, d.standby, `ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port=1'`, `SELECT pg_reload_conf()`)
}

// failOver kills the primary and promotes the standby.
func (d *database) failOver(ctx context.Context) error {
	if err := d.kill(); err != nil {
		return err
	}
	if err := execOn(ctx, d.standby, `SELECT pg_promote()`); err != nil {
		return err
	}
	return d.replace(d.standby)
}

// restore kills the primary and starts the backup.
func (d *database) restore(ctx context.Context) error {
	if err := errors.Join(d.kill(), d.backup.Restart(ctx)); err != nil {
		return err
	}
	restored := d.backup
	d.backup = nil
	return errors.Join(d.standby.Close(), d.replace(restored))
}

// kill kills the primary for good.
func (d *database) kill() error {
	err := d.primary.Kill()
	d.killed = time.Now()
	return err //nolint:wrapcheck // it needs no context
}

func (d *database) replace(by *embedded.Postgres) error {
	former := d.primary
	d.primary, d.standby = by, nil
	return former.Close() //nolint:wrapcheck // it needs no context
}
