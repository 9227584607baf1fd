package testenv

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// An Option says how a test's database is made.
type Option func(*databaseConfig)

type databaseConfig struct {
	template *template
}

// Template makes databases that start as copies of one that prepare has been
// run on, with migrations for instance. Copying takes milliseconds, so each
// test can have a database of its own.
//
// The preparation runs once per value that Template returns, and only if a
// test asks for it; make the value a package variable. The name shows in the
// names of databases and need not be unique. The connections that prepare
// opens must be closed when it returns; its url is a superuser's, or that of
// DATABASE_URL with another database in it.
func Template(name string, prepare func(ctx context.Context, url string) error) Option {
	t := &template{name: name, prepare: prepare}
	t.database = sync.OnceValues(t.build)
	return func(c *databaseConfig) { c.template = t }
}

// A template is a prepared database that others are copied from.
type template struct {
	name     string
	prepare  func(ctx context.Context, url string) error
	database func() (name string, err error)
}

// build makes the template in the environment's server.
func (t *template) build() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	server, err := shared.postgres()
	if err != nil {
		return "", err
	}
	name := uniqueName("template_" + t.name)
	if err := createDatabase(ctx, server.address, name, pristine); err != nil {
		return "", err
	}
	shared.onClose(func() error { return dropDatabase(server.address, name) })
	if err := t.prepare(ctx, databaseURL(server.address, name)); err != nil {
		return "", fmt.Errorf("prepare the template %s: %w", t.name, err)
	}
	return name, sealDatabase(ctx, server.address, name)
}

// sealDatabase waits until nobody is connected to a database any more and
// keeps it so: PostgreSQL does not copy a database that is in use.
func sealDatabase(ctx context.Context, server, name string) error {
	return withConn(ctx, server, func(conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, "ALTER DATABASE "+quote(name)+" ALLOW_CONNECTIONS false"); err != nil {
			return err
		}
		return poll(ctx, 5*time.Millisecond, func() error { return unused(ctx, conn, name) })
	})
}

func unused(ctx context.Context, conn *pgx.Conn, name string) error {
	var n int
	err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE datname = $1", name).Scan(&n)
	if err == nil && n > 0 {
		err = fmt.Errorf("%d connections to the template %s are left open", n, name)
	}
	return err
}
