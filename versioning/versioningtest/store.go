package versioningtest

import (
	"context"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// Store is what a worker needs from a store.
type Store interface {
	Prepare(*versioning.Record)
	Split(ctx context.Context, records []*versioning.Record, n int) (lists [][]*versioning.Record, index [][]int, err error)
	Apply(context.Context, versioning.Server, []*versioning.Record) (versioning.Result, error)
	Marks(ctx context.Context, group string, topicIDs [][16]byte) ([]versioning.Mark, versioning.Server, error)
	SetMarks(ctx context.Context, group string, server versioning.Server, marks []versioning.Mark) error
}

// A Row is an entity's row.
type Row struct {
	State   statemachine.State
	Version int64
	Columns versioning.Columns // the columns that the steps have set
}

// A Transition is one row of an entity's history.
type Transition struct {
	Version    int64
	Event      statemachine.Event
	From, To   statemachine.State
	MessageID  string
	Origin     versioning.Origin
	Definition int // the version of the machine's definition
}

// A Parked is a record that waits for an entity.
type Parked struct {
	Origin     versioning.Origin
	Entity     versioning.Entity
	Reason     versioning.Reason
	Seen       int64 // the entity's version when the record was last judged
	Definition int   // the version of the machine that last judged the record
}

// A DeadLetter is a record that can never be applied, and why.
type DeadLetter struct {
	Origin    versioning.Origin
	Key       []byte
	Value     []byte
	Headers   []versioning.Header
	Timestamp int64 // milliseconds since 1970
	Outcome   versioning.Outcome
}
