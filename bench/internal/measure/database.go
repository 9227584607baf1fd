package measure

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/migrations"
)

// tables are those of the application. All contenders write orders; those
// without the framework have order_history for what pawl.transitions is to it.
const tables = `
CREATE TABLE orders (
	id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, customer text, total numeric
);
CREATE TABLE order_history (
	order_id text NOT NULL, version bigint NOT NULL, event text NOT NULL, from_state text NOT NULL, to_state text NOT NULL,
	message_id text NOT NULL, at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (order_id, version), UNIQUE (order_id, message_id)
)`

// A server is the PostgreSQL server, and the databases made on it.
type server struct {
	url      *url.URL
	admin    *pgx.Conn
	template string
	made     []string
}

// openServer checks that the server is as durable as in production, and makes
// the database of which the others are copies.
func openServer(ctx context.Context, databaseURL, run string) (*server, error) {
	u, err := url.Parse(databaseURL)
	if err != nil || u.Scheme == "" {
		return nil, fmt.Errorf("DATABASE_URL has to be a URL: %w", err)
	}
	s := &server{url: u, template: "bench_" + run + "_template"}
	if s.admin, err = pgx.Connect(ctx, databaseURL); err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	for _, setting := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		var value string
		if err := s.admin.QueryRow(ctx, "SELECT current_setting($1)", setting).Scan(&value); err != nil {
			return nil, fmt.Errorf("read the setting %s: %w", setting, err)
		}
		if value != "on" {
			return nil, fmt.Errorf("%s is %s; figures of a server that may lose commits say nothing: set it on", setting, value)
		}
	}
	if err := s.create(ctx, s.template, "template1"); err != nil {
		return nil, err
	}
	if err := migrations.Up(ctx, s.urlOf(s.template)); err != nil {
		return nil, err
	}
	return s, s.in(ctx, s.template, tables)
}

func (s *server) urlOf(database string) string {
	u := *s.url
	u.Path = "/" + database
	return u.String()
}

func (s *server) exec(ctx context.Context, statement string) error {
	if _, err := s.admin.Exec(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

func (s *server) create(ctx context.Context, name, template string) error {
	s.made = append(s.made, name)
	return s.exec(ctx, "CREATE DATABASE "+name+" TEMPLATE "+template)
}

// fresh makes a database with empty tables.
func (s *server) fresh(ctx context.Context, name string) (databaseURL string, err error) {
	if err := s.create(ctx, name, s.template); err != nil {
		return "", err
	}
	return s.urlOf(name), nil
}

func (s *server) drop(ctx context.Context, name string) error {
	return s.exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
}

// in runs statements in one of the databases.
func (s *server) in(ctx context.Context, database string, statements ...string) error {
	conn, err := pgx.Connect(ctx, s.urlOf(database))
	if err != nil {
		return fmt.Errorf("connect to %s: %w", database, err)
	}
	for _, statement := range statements {
		if _, execErr := conn.Exec(ctx, statement); execErr != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", statement, execErr))
		}
	}
	return errors.Join(err, conn.Close(ctx))
}

// steps returns how many steps all rows of the table have made.
func (s *server) steps(ctx context.Context, database string) (steps int, err error) {
	conn, err := pgx.Connect(ctx, s.urlOf(database))
	if err != nil {
		return 0, fmt.Errorf("connect to %s: %w", database, err)
	}
	err = conn.QueryRow(ctx, "SELECT coalesce(sum(version), 0)::bigint FROM orders").Scan(&steps)
	if err = errors.Join(err, conn.Close(ctx)); err != nil {
		return 0, fmt.Errorf("count the steps: %w", err)
	}
	return steps, nil
}

func (s *server) close(ctx context.Context) (err error) {
	for _, name := range s.made {
		err = errors.Join(err, s.drop(ctx, name))
	}
	return errors.Join(err, s.admin.Close(ctx))
}
