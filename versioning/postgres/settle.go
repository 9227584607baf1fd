package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/versioning"
)

// This file has the path of a batch from the records to the COMMIT, in the order in
// which it runs: settle, transact, inTransaction, run, SendBatch and finish.

// A decision says what a transaction reads and how it judges that.
type decision struct {
	records []*versioning.Record // their entities are read, and what is parked for these
	judge   func(*versioning.View) *versioning.Plan
	firing  *firing // takes the records, which are due timers, in the transaction; nil for other records
	recall  bool    // rows need not be read if the store remembers them
}

// decisionOn returns the decision about a batch.
func (s *snapshot) decisionOn(records []*versioning.Record) decision {
	return decision{records: records, judge: func(view *versioning.View) *versioning.Plan { return versioning.Fold(s.rules, view, records) }}
}

// A settlement carries out a decision: it runs transactions until one of them commits.
type settlement struct {
	*snapshot
	decision

	on       versioning.Server // any, if empty
	locks    fateLocks         // those that the attempts so far needed: a guess at what the next one needs
	oneByOne bool              // write the rows one by one
	trial    *trial            // how that went
	attempt  int               // counted from 0
	reader   *reader           // of the current attempt
}

// settle carries out a decision on a server. If PostgreSQL refuses something and the
// records are few enough, it writes the rows one by one to find the records that
// PostgreSQL refuses.
func (s *snapshot) settle(ctx context.Context, on versioning.Server, d decision, few bool) (*versioning.Plan, error) {
	t := settlement{snapshot: s, decision: d, on: on, locks: make(fateLocks)}
	plan, err := t.transact(ctx)
	if few && (errors.Is(err, errSerial) || isRefusal(err)) {
		if isRefusal(err) {
			t.locks.exclude() // some record will become a dead letter
		}
		t.oneByOne = true
		plan, err = t.transact(ctx)
	}
	return plan, err
}

// errSerial says that the rows of a plan must be written one by one.
var errSerial = errors.New("the rows can't be written as a set")

// maxAttempts limits how often a batch is read and judged because other writers moved
// its rows. The first attempt takes no locks. Later attempts lock the rows they read,
// so only new rows can still interfere.
const maxAttempts = 5

// transact runs a transaction, and runs it again if rows were moved between reading and
// writing.
func (s *settlement) transact(ctx context.Context) (*versioning.Plan, error) {
	if s.recall && !s.oneByOne {
		if plan, err := s.transactBlindly(ctx); plan != nil || err != nil {
			return plan, err
		}
	}
	for s.attempt = range maxAttempts {
		var script *script
		err := s.inTransaction(ctx, func(tx *transaction) (err error) {
			script, err = s.run(ctx, tx)
			return err
		})
		err = s.orAltered(ctx, err)
		switch {
		case err == nil:
			s.note(script)
			return script.plan, nil
		case !errors.Is(err, errMoved), errors.Is(err, errAltered):
			return nil, err
		case !errors.Is(err, errLockFirst):
			s.contended.Add(1)
		}
	}
	return nil, fmt.Errorf("%w (%d attempts)", versioning.ErrContended, maxAttempts)
}

// note notes what a transaction has committed.
func (s *settlement) note(script *script) {
	s.noteWritten(script.moves)
	s.outbox.committed(script.packs)
	s.trial.noteRefused()
	s.memory.learn(s.reader, script)
}

// errLockFirst says that the next attempt has to lock the rows, or take other fate locks, although
// nobody has moved a row.
var errLockFirst = fmt.Errorf("the rows must be locked first: %w", errMoved)

// inTransaction runs work in a transaction, which work must finish. If work returns an
// error or panics, the transaction is rolled back.
func (s *snapshot) inTransaction(ctx context.Context, work func(*transaction) error) error {
	return connected(ctx, s.pool, func(conn *pgxpool.Conn) error {
		err := work(&transaction{store: s, conn: conn})
		if err != nil {
			_, _ = conn.Exec(ctx, "ROLLBACK") // if it can't be sent, the connection is closed
		}
		return err
	})
}

// run runs one transaction: read, judge, write. It usually takes two round trips, and one more
// to claim timers.
//
// Fate locks always come before row locks. The first attempt locks no rows before it
// writes, so it takes its fate locks together with the writes. A later attempt takes
// them at the beginning, as a guess from the attempts before it.
func (s *settlement) run(ctx context.Context, tx *transaction) (*script, error) {
	lock := s.attempt > 0 || s.oneByOne
	if lock {
		tx.locks = s.locks
	}
	view, err := s.look(ctx, tx, lock)
	if err != nil {
		return nil, err
	}
	if s.on != "" && s.on != tx.server {
		return nil, versioning.ErrServerChanged
	}
	var script *script
	if s.oneByOne {
		if s.trial, err = s.writeOneByOne(ctx, tx, view, s.judge); err != nil {
			return nil, err
		}
		script = s.trial.script
	} else {
		script = s.compose(s.judge(view))
	}
	script.tells = refusesDirect(s.records, script.plan)
	if script.tells && !lock {
		return nil, errLockFirst
	}
	fates := fatesOf(script.plan)
	held := s.locks.cover(fates)
	s.locks.add(fates)
	switch {
	case script.rows.serial:
		return nil, errSerial
	case !lock:
		script.locks = fates
	case !held:
		return nil, errLockFirst
	}
	script.again, script.now, script.firing = s.attempt > 0, tx.now, s.firing
	if err := s.writeOutputs(ctx, tx, script); err != nil {
		return nil, err
	}
	script.server, script.memos = tx.server, make([]*memo, len(script.moves))
	if !s.oneByOne { // which reads rows several times
		script.memos = s.reader.memos(script.moves)
	}
	return script, tx.finish(ctx, script.statements())
}

// look reads what the decision is about. Timers are claimed first.
func (s *settlement) look(ctx context.Context, tx *transaction, lock bool) (*versioning.View, error) {
	if s.firing != nil {
		if err := s.firing.take(ctx, tx); err != nil {
			return nil, err
		}
		s.decision = s.firing.decision(s.snapshot)
	}
	s.reader = s.newReader(tx, s.records, lock)
	return s.reader.view, s.reader.read(ctx, s.records)
}

// refusesDirect reports whether a plan refuses the changes of a caller who waits for them. Such
// a verdict must rest on locked rows: the caller may be asking again while an earlier attempt,
// which it has given up, is about to commit.
func refusesDirect(records []*versioning.Record, plan *versioning.Plan) bool {
	for i := range plan.Outcomes {
		if records[i].Direct && plan.Outcomes[i].Verdict > versioning.Applied {
			return true
		}
	}
	return false
}

// A transaction begins with its first statements and ends with its last ones, in the
// same round trips. (A transaction that pgx begins with a batch, by Batch.BeginTx,
// needs a separate round trip to commit.) It belongs to one goroutine.
type transaction struct {
	store *snapshot
	conn  *pgxpool.Conn
	locks fateLocks // taken at the beginning
	begin string    // the first statement; empty means beginSQL
	begun bool

	server versioning.Server // set once the transaction has begun
	now    time.Time         // when the transaction began, by the database's clock
}

// SendBatch sends statements. Before the first ones it begins the transaction.
func (t *transaction) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if !t.begun {
		t.begun = true
		first := &pgx.Batch{}
		first.Queue(cmp.Or(t.begin, beginSQL))
		shared := t.store.schema.sharedSQL
		if t.begin != "" {
			shared = "NULL" // it writes nothing
		}
		first.Queue(settingsSQL + ", " + shared + ", pg_catalog.now(), " + t.store.schema.serverSQL).QueryRow(func(row pgx.Row) error {
			return row.Scan(nil, nil, nil, nil, nil, nil, nil, nil, &t.now, &t.server)
		})
		t.locks.queue(first, t.store.schema)
		b.QueuedQueries = slices.Concat(first.QueuedQueries, b.QueuedQueries)
	}
	conn := t.conn.Conn()
	roomOf(conn).reserve(conn, b)
	return conn.SendBatch(ctx, b)
}

// finish sends the last statements together with the COMMIT. If one of them fails,
// PostgreSQL does not run those after it, so the transaction does not commit.
//
// A COMMIT that waits for a synchronous standby succeeds even if that wait is canceled,
// and a connection may be configured to send a cancel request when its context ends. So
// a result that arrives after the context has ended proves nothing.
func (t *transaction) finish(ctx context.Context, writes *pgx.Batch) error {
	writes.Queue("COMMIT").Exec(func(tag pgconn.CommandTag) error {
		if tag.String() != "COMMIT" {
			return pgx.ErrTxCommitRollback // the answer to a COMMIT after a failed statement
		}
		return nil
	})
	if err := t.store.written(t.SendBatch(ctx, writes).Close()); err != nil {
		return err
	}
	return ctx.Err()
}
