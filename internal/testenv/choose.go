package testenv

import (
	"context"
	"errors"
	"fmt"
)

// A backend is a server for tests.
type backend struct {
	kind    kind
	detail  string // a description, for the summary line
	address string // a connection string, or brokers separated by commas
	close   func() error
}

// A starter starts one kind of backend.
type starter func(ctx context.Context) (*backend, error)

// A resource is Kafka or PostgreSQL, and the ways to start it.
type resource struct {
	variable string
	starters map[kind]starter
}

// acquire starts the first of the kinds that works. The second result joins the
// errors of the kinds that failed before it, so that the caller can report the
// fallback.
func (r resource) acquire(ctx context.Context, kinds []kind) (*backend, error) {
	var errs []error
	for _, k := range kinds {
		b, err := r.starters[k](ctx)
		if err == nil {
			b.kind = k
			return b, errors.Join(errs...)
		}
		errs = append(errs, fmt.Errorf("%s: %w", k, err))
	}
	return nil, errors.Join(errs...)
}
