package measure

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/migrations/migrate"
)

// tablesWith returns SQL that creates the application's tables. All contenders write
// orders, which gets these columns of sums too. Those without the framework use
// order_history as the framework uses pawl.transitions, and order_requests as a gateway uses
// pawl.responses. fillfactor leaves room on the pages of orders for HOT
// updates, which do not touch the index. Keys are compared as bytes, as in
// pawl.transitions.
func tablesWith(sums []string) string {
	var columns strings.Builder
	for _, column := range sums {
		columns.WriteString(", " + column + " bigint NOT NULL")
	}
	return `
CREATE TABLE orders (
	id text COLLATE "C" PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, customer text, total numeric` + columns.String() + `
) WITH (fillfactor = 80);
CREATE TABLE order_history (
	order_id text COLLATE "C" NOT NULL, version bigint NOT NULL, event text NOT NULL, from_state text NOT NULL, to_state text NOT NULL,
	message_id text NOT NULL, at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (order_id, version), UNIQUE (order_id, message_id)
);
CREATE TABLE order_outbox (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, message_id text NOT NULL, key text NOT NULL, event text NOT NULL, value bytea NOT NULL
);
CREATE TABLE order_requests (
	key text COLLATE "C" PRIMARY KEY, fingerprint bytea NOT NULL, status int, response bytea, at timestamptz NOT NULL DEFAULT now()
)`
}

// copyHistorySQL gives the contenders without the framework the history that it has written.
const copyHistorySQL = `
INSERT INTO order_history (order_id, version, event, from_state, to_state, message_id)
SELECT entity, version, event, from_state, to_state, message_id FROM pawl.transitions`

// A server is the PostgreSQL server and the databases created on it.
type server struct {
	url   *url.URL
	admin *pgx.Conn
	made  []string
}

// openServer checks that the server is configured to be as durable as in
// production.
func openServer(ctx context.Context, databaseURL string) (*server, error) {
	u, err := url.Parse(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("database URL: %w", err)
	}
	if u.Scheme == "" {
		return nil, errors.New("DATABASE_URL must be a URL, not a list of settings")
	}
	s := &server{url: u}
	if s.admin, err = pgx.Connect(ctx, databaseURL); err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	for _, setting := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		var value string
		if err := s.admin.QueryRow(ctx, "SELECT current_setting($1)", setting).Scan(&value); err != nil {
			return nil, fmt.Errorf("read the setting %s: %w", setting, err)
		}
		if value != "on" {
			return nil, fmt.Errorf("%s is %s; results from a server that may lose commits are meaningless; set it to on", setting, value)
		}
	}
	return s, nil
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

// create creates a database with empty tables, which have these columns of sums.
func (s *server) create(ctx context.Context, name string, sums []string) error {
	s.made = append(s.made, name)
	if err := s.exec(ctx, "CREATE DATABASE "+name); err != nil {
		return err
	}
	return s.empty(ctx, name, sums)
}

// empty re-creates all tables of a database, so that neither rows nor planner
// statistics remain.
func (s *server) empty(ctx context.Context, name string, sums []string) error {
	err := s.in(ctx, name, "DROP SCHEMA IF EXISTS pawl CASCADE", "DROP TABLE IF EXISTS orders, order_history, order_outbox, order_requests", tablesWith(sums))
	if err != nil {
		return err
	}
	return migrate.Up(ctx, s.urlOf(name))
}

func (s *server) drop(ctx context.Context, name string) error {
	return s.exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
}

// in runs statements in a database.
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

// steps returns the total number of steps of all rows, without those that workload migrate moves.
func (s *server) steps(ctx context.Context, database string) (steps int, err error) {
	conn, err := pgx.Connect(ctx, s.urlOf(database))
	if err != nil {
		return 0, fmt.Errorf("connect to %s: %w", database, err)
	}
	err = conn.QueryRow(ctx, "SELECT coalesce(sum(version), 0)::bigint FROM orders WHERE id NOT LIKE 'old-%'").Scan(&steps)
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
