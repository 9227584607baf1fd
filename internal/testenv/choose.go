package testenv

import (
	"context"
	"errors"
	"fmt"
)

// A backend is a server that tests can use.
type backend struct {
	kind    kind
	detail  string // what it is, for the line that says what was chosen
	address string // a connection string, or brokers separated by commas
	close   func() error
}

// A starter brings up one kind of backend.
type starter func(ctx context.Context) (*backend, error)

// A resource is one of the things that tests ask for, and the ways to get it.
type resource struct {
	variable string
	starters map[kind]starter
}

// acquire brings up the first of the kinds that works. The errors of those
// that did not are in the second result: they are worth a remark where another
// kind stood in.
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
