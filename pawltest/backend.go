package pawltest

import (
	"context"
	"time"

	"github.com/pawl-go/pawl/versioning"
)

// A backend is a store that can be inspected.
type backend interface {
	inspector

	Prepare(r *versioning.Record)

	// apply applies a record, and dies at a point of the transaction if it is to crash.
	apply(ctx context.Context, r *versioning.Record, crash crash) (versioning.Result, error)

	// fire fires the timers that are due at a time.
	fire(ctx context.Context, now time.Time) (versioning.Fired, error)

	// next returns when the next timer is due, or the zero time.
	next(ctx context.Context) (time.Time, error)
}

// An inspector says what a store has.
type inspector interface {
	// entity returns everything about an entity but the numbers of deliveries and the events
	// of parked records, which only the worker knows.
	entity(ctx context.Context, e versioning.Entity) (*Entity, error)

	// columns returns the columns of the row that the machine's functions see.
	columns(ctx context.Context, e versioning.Entity) (row rowValues, err error)

	// entities returns all entities that have a row, sorted.
	entities(ctx context.Context) ([]versioning.Entity, error)
}

// A crash says at which point a worker dies.
type crash uint8

const (
	noCrash           crash = iota
	crashBeforeCommit       // the functions have run, and nothing is written
	crashAfterCommit        // everything is written, and the worker does not know it
)

// rowValues are the columns of a row that functions see. It is nil if there is no row.
type rowValues map[string]any
