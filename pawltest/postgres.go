package pawltest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testdb"
	"github.com/pawl-go/pawl/migrations"
	"github.com/pawl-go/pawl/migrations/migrate"
)

// A Database says what the databases of tests have. Keep one in a package variable, and pass it to
// [Postgres]: what it says is done once, in a template, and each test gets a copy of that. The zero
// value has the framework's schema only. It must not be changed or copied after its first use.
type Database struct {
	// DDL creates your tables, and whatever else a test starts with. It is run after Migrate.
	DDL string

	// Migrate runs your migrations in the database with a URL. It must close its connections.
	// nil means none. It is run after the framework's.
	Migrate func(ctx context.Context, databaseURL string) error

	// Schema is the framework's schema. Empty means pawl.
	Schema migrations.Schema

	mu       sync.Mutex // guards the fields below
	server   *server    // that has the template
	template string     // its name
}

// setupTimeout limits how long a template may take.
const setupTimeout = 5 * time.Minute

// Postgres returns a pool on a clean database for this test: a copy of what d says. When the test
// ends, the pool is closed and the database dropped.
//
// The server is the one of DATABASE_URL, whose role must be allowed to create databases. The
// variable must name the server itself, not a pooler in front of it. Without
// the variable, it is one that this process starts, with the programs that are installed on the
// machine or, if there are none, downloaded. It starts once, in about a second, and serves all
// tests of the process. See [ClosePostgres] for its end.
func Postgres(t TB, d *Database) *pgxpool.Pool {
	t.Helper()
	s, err := theServer()
	if err != nil {
		t.Fatalf("pawltest: %v", err)
	}
	url, name, err := d.clone(s, t.Name())
	if err != nil {
		t.Fatalf("pawltest: %v", err)
	}
	t.Cleanup(func() {
		if err := testdb.Drop(s.url, name); err != nil {
			t.Errorf("pawltest: %v", err)
		}
	})
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatalf("pawltest: open a pool: %v", err)
	}
	t.Cleanup(func() {
		if err := testdb.ClosePool(pool, testdb.PoolCloseTimeout); err != nil {
			t.Errorf("pawltest: %v", err)
		}
	})
	return pool
}

// clone copies the template.
func (d *Database) clone(s *server, hint string) (url, name string, err error) {
	template, err := d.prepared(s)
	if err != nil {
		return "", "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	name = s.name(hint)
	if err := s.create(ctx, name, template); err != nil {
		return "", "", fmt.Errorf("make a database for the test: %w", err)
	}
	return testdb.URL(s.url, name), name, nil
}

// prepared returns the name of the template. It makes it if the server does not have it.
func (d *Database) prepared(s *server) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.server == s {
		return d.template, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	name := s.name("template")
	s.onClose(name)
	if err := testdb.Build(ctx, s.url, name, d.migrate); err != nil {
		return "", fmt.Errorf("prepare the template of test databases: %w", err)
	}
	d.server, d.template = s, name
	return name, nil
}

// migrate sets up the template.
func (d *Database) migrate(ctx context.Context, url string) error {
	if err := migrate.UpIn(ctx, url, d.Schema); err != nil {
		return fmt.Errorf("migrate the framework's schema: %w", err)
	}
	if d.Migrate != nil {
		if err := d.Migrate(ctx, url); err != nil {
			return fmt.Errorf("Database.Migrate: %w", err)
		}
	}
	if d.DDL == "" {
		return nil
	}
	return testdb.WithConn(ctx, url, func(conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, d.DDL); err != nil {
			return fmt.Errorf("Database.DDL: %w", err)
		}
		return nil
	})
}
