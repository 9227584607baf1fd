package testdb

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Build creates the database name on a server, lets prepare set it up, and seals it: then it can be
// copied with [Create]. prepare must close its connections before it returns.
func Build(ctx context.Context, server, name string, prepare func(ctx context.Context, url string) error) error {
	if err := Create(ctx, server, name, Pristine); err != nil {
		return err
	}
	if err := prepare(ctx, URL(server, name)); err != nil {
		return err
	}
	return seal(ctx, server, name)
}

// seal blocks new connections to a database and waits for the existing
// ones to end: PostgreSQL does not copy a database in use.
func seal(ctx context.Context, server, name string) error {
	return WithConn(ctx, server, func(conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, "ALTER DATABASE "+Quote(name)+" ALLOW_CONNECTIONS false"); err != nil {
			return err
		}
		return Poll(ctx, 5*time.Millisecond, func() error { return unused(ctx, conn, name) })
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
