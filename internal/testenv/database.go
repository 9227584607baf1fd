package testenv

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
)

// pristine is the database that a test without a template gets a copy of.
const pristine = "template0"

// quote makes an SQL identifier of a name.
func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// createDatabase makes a database that is a copy of another.
func createDatabase(ctx context.Context, server, name, template string) error {
	err := withConn(ctx, server, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "CREATE DATABASE "+quote(name)+" TEMPLATE "+quote(template))
		return err
	})
	if err != nil {
		return fmt.Errorf("create the database %s from %s: %w", name, template, err)
	}
	return nil
}

// dropDatabase removes a database and whoever is still connected to it.
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

// withConn lends a connection that is closed afterwards.
func withConn(ctx context.Context, server string, use func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return err
	}
	defer conn.Close(ctx) //nolint:errcheck // what counts has been answered by then
	return use(conn)
}

// databaseURL returns the connection string with another database in it. It
// may be a URL or a list of keywords and values.
func databaseURL(server, name string) string {
	if !strings.Contains(server, "://") {
		return server + " dbname=" + name // the last of several counts
	}
	u, err := url.Parse(server)
	if err != nil {
		return server // the driver says better what is wrong with it
	}
	u.Path = "/" + name
	query := u.Query()
	query.Del("dbname") // it would win over the path
	query.Del("database")
	u.RawQuery = query.Encode()
	return u.String()
}
