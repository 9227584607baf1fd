package postgres

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/migrations"
)

// A Config configures a [Backend]. The zero value is useful.
type Config struct {
	// Schema is the framework's schema, with the table responses. Empty means pawl. Keys of
	// different schemas are independent.
	Schema string

	// TTL is how long a response is kept after it was stored, by the server's clock. A request
	// with the key then runs again. 0 means 24 hours.
	TTL time.Duration

	// MaxRunning limits the transactions of requests that run at a time, and so the
	// connections that they hold. It must leave at least one connection of the pool for
	// repeats, and three if WithoutTransaction is used, too. 0 means half of the pool.
	MaxRunning int

	// QueueTimeout is how long a request waits for a connection, and for one of MaxRunning.
	// While it waits, it holds none. Then the answer is 503 with Retry-After. 0 means 5 s.
	QueueTimeout time.Duration

	// RetryAfter is what clients are told if a request with their key is running, or if the
	// backend is busy. 0 means a second.
	RetryAfter time.Duration

	// TxOptions are those of the transactions of handlers. The zero value means those of the
	// server or the role. At the levels repeatable read and serializable, each run costs one
	// more look for a stored response, and may end with 503 if other transactions change the
	// same rows.
	TxOptions pgx.TxOptions

	// IdleTimeout is how long a handler may leave its transaction without a statement before
	// the server ends it, and the key is free. It bounds how long the key of a host that has
	// disappeared stays locked. 0 means idle_in_transaction_session_timeout of the server or
	// the role, or 30 s if that is off.
	IdleTimeout time.Duration

	// SweepEvery is how often Run deletes expired responses. 0 means a minute.
	SweepEvery time.Duration
}

const (
	defaultTTL    = 24 * time.Hour
	defaultQueue  = 5 * time.Second
	defaultRetry  = time.Second
	defaultSweeps = time.Minute
)

func (c Config) withDefaults(pool *pgxpool.Pool) Config {
	if pool != nil && c.MaxRunning == 0 {
		c.MaxRunning = max(1, int(pool.Config().MaxConns)/2)
	}
	c.TTL = cmp.Or(c.TTL, defaultTTL)
	c.QueueTimeout = cmp.Or(c.QueueTimeout, defaultQueue)
	c.RetryAfter = cmp.Or(c.RetryAfter, defaultRetry)
	c.SweepEvery = cmp.Or(c.SweepEvery, defaultSweeps)
	return c
}

// validate returns all problems of a configuration with defaults.
func (c Config) validate(pool *pgxpool.Pool) error {
	problems := []error{migrations.Schema(c.Schema).Validate()}
	if pool == nil {
		return errors.Join(append(problems, errors.New("the pool is nil"))...)
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"TTL", c.TTL},
		{"QueueTimeout", c.QueueTimeout},
		{"RetryAfter", c.RetryAfter},
		{"IdleTimeout", c.IdleTimeout},
		{"SweepEvery", c.SweepEvery},
	} {
		if d.value < 0 {
			problems = append(problems, fmt.Errorf("%s is %v; it must not be negative", d.name, d.value))
		}
	}
	if most := int(pool.Config().MaxConns); c.MaxRunning < 1 || c.MaxRunning >= most {
		problems = append(problems, fmt.Errorf(
			"MaxRunning is %d, and the pool has %d connections (pool_max_conns); it must be at least 1, and less than that, to leave one for repeats", c.MaxRunning, most))
	}
	if mode := c.TxOptions.AccessMode; mode == pgx.ReadOnly {
		problems = append(problems, errors.New("TxOptions has access mode read only; responses could not be stored"))
	}
	if c.TxOptions.BeginQuery != "" || c.TxOptions.CommitQuery != "" {
		problems = append(problems, errors.New("TxOptions has a BeginQuery or a CommitQuery"))
	}
	return errors.Join(problems...)
}
