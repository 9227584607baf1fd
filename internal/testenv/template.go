package testenv

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// An Option configures a test's database.
type Option func(*databaseConfig)

type databaseConfig struct {
	template *template
}

// Template returns an option that makes databases as copies of one that prepare
// has set up, for example with migrations. A copy takes milliseconds, so each
// test can have its own database.
//
// prepare runs once per value that Template returns, and only if a test needs
// it; store the value in a package variable. The name is part of the database
// names and need not be unique. prepare must close its connections before it
// returns. Its url is a superuser's, or DATABASE_URL with the database
// replaced.
func Template(name string, prepare func(ctx context.Context, url string) error) Option {
	t := &template{name: name, prepare: prepare}
	t.database = sync.OnceValues(t.build)
	return func(c *databaseConfig) { c.template = t }
}

// A template is a prepared database that is copied for tests.
type template struct {
	name     string
	prepare  func(ctx context.Context, url string) error
	database func() (name string, err error)
}

// build creates the template on the environment's server.
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

// sealDatabase blocks new connections to a database and waits for the existing
// ones to end: PostgreSQL does not copy a database in use.
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
		err = fmt.Errorf("%d connections to the template %s are still open", n, name)
	}
	return err
}
