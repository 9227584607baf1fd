package testenv

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
)

// pristine is the database to copy for a test without a template.
const pristine = "template0"

// quote returns name as an SQL identifier.
func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// createDatabase creates a database as a copy of another.
func createDatabase(ctx context.Context, server, name, template string) error {
	err := withConn(ctx, server, func(conn *pgx.Conn) error {
		create := "CREATE DATABASE " + quote(name) + " TEMPLATE " + quote(template)
		var fast bool
		if err := conn.QueryRow(ctx, canCopyFiles).Scan(&fast); err != nil {
			return err
		}
		if fast {
			create += " STRATEGY file_copy"
		}
		_, err := conn.Exec(ctx, create)
		return err
	})
	if err != nil {
		return fmt.Errorf("create the database %s from %s: %w", name, template, err)
	}
	return nil
}

// canCopyFiles returns whether file_copy is there, which is since PostgreSQL 15, and is
// faster than writing the copy to the WAL. With fsync it is slower: it syncs each file.
const canCopyFiles = `
SELECT current_setting('server_version_num')::int >= 150000 AND NOT current_setting('fsync')::bool`

// dropDatabase drops a database and disconnects its users.
func dropDatabase(server, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	err := withConn(ctx, server, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+quote(name)+" WITH (FORCE)")
		return err
	})
	if err != nil {
		return fmt.Errorf("drop the database %s: %w", name, err)
	}
	return nil
}

// withConn calls use with a connection and closes it.
func withConn(ctx context.Context, server string, use func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return err
	}
	defer conn.Close(ctx) //nolint:errcheck // the result is already known
	return use(conn)
}

// databaseURL returns the connection string with the database replaced. It
// accepts a URL or keyword/value pairs.
func databaseURL(server, name string) string {
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
