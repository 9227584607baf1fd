package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// An OutputWriter writes what steps cause in the transaction that makes the steps. It must be
// safe for concurrent use.
type OutputWriter interface {
	// WriteOutputs writes the outputs of steps, which are in the order of each entity's
	// versions. It may be called several times for one step, in different transactions, of
	// which at most one commits. So it must do nothing outside of tx. If it returns an
	// error, the transaction is rolled back.
	WriteOutputs(ctx context.Context, tx Tx, steps []Caused) error
}

// A JobChecker is an [OutputWriter] that can tell beforehand which jobs it can't write. A
// record whose action enqueues such a job is rejected. Without this interface, every job is
// accepted, and one that can't be written holds up its batch.
type JobChecker interface {
	// CheckJob says why the queue can't take a job; see [versioning.CheckJobFunc].
	CheckJob(job any) error
}

// checkJob returns the check of the table's queue, or nil if the table needs a queue and has none.
func (t *table) checkJob() versioning.CheckJobFunc {
	if t.Queue == nil && !t.Silent {
		return nil
	}
	if c, ok := t.Queue.(JobChecker); ok {
		return c.CheckJob
	}
	return func(any) error { return nil }
}

// Caused is one step and what it causes.
type Caused struct {
	Entity   versioning.Entity
	Event    statemachine.Event
	From, To statemachine.State
	Version  int64     // of the entity, after the step
	Time     time.Time // of the record that made the step
	Outputs  *versioning.Outputs
}

// A Tx is the transaction that makes a batch's steps, before it has written the rows. It
// belongs to the store: Commit and Rollback return an error and do nothing, as does Begin,
// because the statements of a batch are all or nothing.
type Tx interface {
	pgx.Tx

	// Queue adds a statement that is sent together with the statements that write the rows,
	// after those, in one round trip. If it fails, the transaction is rolled back.
	Queue(sql string, args ...any) *pgx.QueuedQuery
}

// errNotYours is returned by methods of a Tx that would begin or end a transaction.
var errNotYours = errors.New("the transaction belongs to the store, which begins it and ends it")

// outputTx is the Tx of a transaction.
type outputTx struct {
	conn  *pgx.Conn
	batch pgx.Batch // the queued statements
}

// Queue implements [Tx].
func (t *outputTx) Queue(sql string, args ...any) *pgx.QueuedQuery {
	return t.batch.Queue(sql, args...)
}

// Begin implements [pgx.Tx].
func (t *outputTx) Begin(context.Context) (pgx.Tx, error) { return nil, errNotYours }

// Commit implements [pgx.Tx].
func (t *outputTx) Commit(context.Context) error { return errNotYours }

// Rollback implements [pgx.Tx].
func (t *outputTx) Rollback(context.Context) error { return errNotYours }

// CopyFrom implements [pgx.Tx].
func (t *outputTx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	return t.conn.CopyFrom(ctx, table, columns, rows)
}

// SendBatch implements [pgx.Tx].
func (t *outputTx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return t.conn.SendBatch(ctx, b)
}

// Prepare implements [pgx.Tx].
func (t *outputTx) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	return t.conn.Prepare(ctx, name, sql)
}

// Exec implements [pgx.Tx].
func (t *outputTx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return t.conn.Exec(ctx, sql, args...)
}

// Query implements [pgx.Tx].
func (t *outputTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return t.conn.Query(ctx, sql, args...)
}

// QueryRow implements [pgx.Tx].
func (t *outputTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return t.conn.QueryRow(ctx, sql, args...)
}

// LargeObjects implements [pgx.Tx]. Its result can't be used.
func (t *outputTx) LargeObjects() pgx.LargeObjects { return pgx.LargeObjects{} }

// Conn implements [pgx.Tx].
func (t *outputTx) Conn() *pgx.Conn { return t.conn }

// writeOutputs lets the writers of outputs write what the steps of a script cause: the one of
// messages, and the tables' queues. What they queue becomes part of the script.
func (s *snapshot) writeOutputs(ctx context.Context, tx *transaction, c *script) error {
	if !c.hasOutputs() {
		return nil
	}
	out := &outputTx{conn: tx.conn.Conn()}
	write := func(w OutputWriter, steps []Caused) error {
		if len(steps) == 0 {
			return nil
		}
		return w.WriteOutputs(ctx, out, steps)
	}
	messages := &messageWriter{store: s, now: c.now}
	err := write(messages, c.caused(func(machine string, o *versioning.Outputs) bool {
		return len(o.Messages) > 0 && !s.byMachine[machine].Silent
	}))
	if err != nil {
		return fmt.Errorf("write messages: %w", err)
	}
	for _, t := range s.tables {
		if t.Queue == nil || t.Silent {
			continue
		}
		name := t.Machine.Name()
		err := write(t.Queue, c.caused(func(machine string, o *versioning.Outputs) bool { return machine == name && len(o.Jobs) > 0 }))
		if err != nil {
			return fmt.Errorf("enqueue the jobs of machine %q: %w", name, err)
		}
	}
	c.outputs, c.packs = out.batch.QueuedQueries, messages.packs
	return nil
}

// hasOutputs reports whether any step of the script causes something.
func (c *script) hasOutputs() bool {
	return slices.ContainsFunc(c.moves, func(m *versioning.Move) bool {
		return slices.ContainsFunc(m.Steps, func(s versioning.Step) bool { return s.Outputs != nil })
	})
}

// caused returns the steps whose machine and outputs are wanted, in the order of each entity's
// versions.
func (c *script) caused(want func(machine string, o *versioning.Outputs) bool) (steps []Caused) {
	for _, m := range c.moves {
		for i := range m.Steps {
			s := &m.Steps[i]
			if s.Outputs != nil && want(m.Entity.Machine, s.Outputs) {
				steps = append(steps, Caused{m.Entity, s.Event, s.From, s.To, s.Version, s.Record.Timestamp, s.Outputs})
			}
		}
	}
	return steps
}
