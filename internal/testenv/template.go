package testenv

import (
	"context"
	"fmt"
	"sync"

	"github.com/pawl-go/pawl/internal/testdb"
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
	name := testdb.UniqueName("template_" + t.name)
	shared.onClose(func() error { return testdb.Drop(server.address, name) })
	if err := testdb.Build(ctx, server.address, name, t.prepare); err != nil {
		return "", fmt.Errorf("prepare the template %s: %w", t.name, err)
	}
	return name, nil
}
