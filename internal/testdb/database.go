package testdb

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Pristine is the database to copy for an empty one.
const Pristine = "template0"

// Quote returns name as an SQL identifier.
func Quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// Create creates a database as a copy of another.
func Create(ctx context.Context, server, name, template string) error {
	return WithConn(ctx, server, func(conn *pgx.Conn) error { return CreateOn(ctx, conn, name, template) })
}

// CreateOn is Create on a connection.
func CreateOn(ctx context.Context, conn *pgx.Conn, name, template string) error {
	create := "CREATE DATABASE " + Quote(name) + " TEMPLATE " + Quote(template)
	var fast bool
	err := conn.QueryRow(ctx, canCopyFiles).Scan(&fast)
	if fast {
		create += " STRATEGY file_copy"
	}
	if err == nil {
		_, err = conn.Exec(ctx, create)
	}
	if err != nil {
		return fmt.Errorf("create the database %s from %s: %w", name, template, err)
	}
	return nil
}

// dropTimeout limits how long a database may take to be dropped.
const dropTimeout = time.Minute

// canCopyFiles returns whether file_copy is there, which is since PostgreSQL 15, and is
// faster than writing the copy to the WAL. With fsync it is slower: it syncs each file.
const canCopyFiles = `
SELECT current_setting('server_version_num')::int >= 150000 AND NOT current_setting('fsync')::bool`

// Drop drops a database and disconnects its users.
func Drop(server, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), dropTimeout)
	defer cancel()
	err := WithConn(ctx, server, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+Quote(name)+" WITH (FORCE)")
		return err
	})
	if err != nil {
		return fmt.Errorf("drop the database %s: %w", name, err)
	}
	return nil
}

// WithConn calls use with a connection and closes it.
func WithConn(ctx context.Context, server string, use func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return err
	}
	defer conn.Close(ctx) //nolint:errcheck // the result is already known
	return use(conn)
}

// URL returns the connection string with the database replaced. It
// accepts a URL or keyword/value pairs.
func URL(server, name string) string {
	if !strings.Contains(server, "://") {
		return server + " dbname=" + name // the last one wins
	}
	u, err := url.Parse(server)
	if err != nil {
		return server // the driver reports the error better
	}
	u.Path = "/" + name
	query := u.Query()
	query.Del("dbname") // it would override the path
	query.Del("database")
	u.RawQuery = query.Encode()
	return u.String()
}
