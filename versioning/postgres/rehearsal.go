package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/versioning"
)

// A Rehearsal judges records as a [Store] would, and writes nothing: neither rows nor the
// definitions of its machines. It takes no locks that anybody waits for, and needs only the right
// to read. It remembers what the records would change, so that later records are judged by it: in
// memory, and in a temporary file if there are more than some thirty thousand entities.
//
// Two verdicts may differ from those of a Store. A Rehearsal does not know that a constraint, a
// trigger or a data type would refuse a row, and takes the record for Applied. And it does not know
// what the database would compute in a column of such a row, so functions see what was there before.
//
// If others write the same rows meanwhile, a record is judged by what was there when it was judged,
// except that an entity which the Rehearsal has changed keeps that until its row has the same
// version.
//
// A Rehearsal is safe for concurrent use as far as a Store is: concurrent calls of Apply must
// have lists that Split made.
type Rehearsal struct {
	store *Store

	mu       sync.Mutex // guards the following
	imagined imagined
	redrawn  Redecoded
	kept     int64
	suspects map[versioning.Verdict][]versioning.Settled // no duplicates, for LookUpOrigins
	search   *search                                     // of LookUpOrigins; nil before it has begun
	part     int64                                       // how many pages it reads at once
}

// OpenRehearsal returns a Rehearsal of a store with the given tables. It checks the tables like
// [OpenIn], but not the rights to write, nor the definitions, which it does not register.
func OpenRehearsal(ctx context.Context, pool *pgxpool.Pool, schema string, tables ...Table) (*Rehearsal, error) {
	if pool == nil {
		return nil, errors.New("open rehearsal: the pool is nil")
	}
	in := newSchema(schema)
	if err := errors.Join(in.Validate(), validate(tables)); err != nil {
		return nil, withCause(fmt.Errorf("open rehearsal: %w", err))
	}
	s := &Store{pool: pool, schema: in, configs: tables, readOnly: true, outbox: &outbox{}}
	err := connected(ctx, pool, func(conn *pgxpool.Conn) error {
		if err := in.Check(ctx, conn); err != nil {
			return err //nolint:wrapcheck // it says what to do
		}
		e, err := s.read(ctx, conn)
		s.snapshot.Store(e)
		return err
	})
	if err != nil {
		return nil, withCause(fmt.Errorf("open rehearsal: %w", err))
	}
	return &Rehearsal{store: s, imagined: newImagined(), part: partPages}, nil
}

// Prepare is like [Store.Prepare].
func (h *Rehearsal) Prepare(r *versioning.Record) { h.store.Prepare(r) }

// Split is like [Store.Split].
func (h *Rehearsal) Split(ctx context.Context, records []*versioning.Record, n int) (lists [][]*versioning.Record, index [][]int, err error) {
	h.mu.Lock()
	ties := h.imagined.ties()
	h.mu.Unlock()
	e := h.store.snapshot.Load()
	stored, err := e.ties(ctx, records)
	if errors.Is(err, errInOneList) {
		n, err = 1, nil
	}
	if err != nil {
		return nil, nil, withCause(fmt.Errorf("read which parked records tie entities together: %w", throughPooler(err)))
	}
	lists, index = versioning.Split(records, append(stored, ties...), n)
	return lists, index, nil
}

// Apply judges records in their order, and remembers what they would change. The result is that
// of [Store.Apply], and so are the errors. The server is not used.
func (h *Rehearsal) Apply(ctx context.Context, _ versioning.Server, records []*versioning.Record) (versioning.Result, error) {
	var all versioning.Result
	e := h.store.snapshot.Load()
	for done := 0; done < len(records); done = len(all.Outcomes) {
		part, err := h.judge(ctx, e, records[done:])
		all = appendResult(all, part, records[:done])
		if err != nil {
			return all, withCause(fmt.Errorf("rehearse %d records from %s: %w", len(records), records[done].Origin, err))
		}
	}
	return all, nil
}

// judge judges records up to the first one whose row would have to be read back.
func (h *Rehearsal) judge(ctx context.Context, e *snapshot, records []*versioning.Record) (versioning.Result, error) {
	plan, err := h.fold(ctx, e, records, func(v *versioning.View) *versioning.Plan { return versioning.Fold(e.rules, v, records) })
	if errors.Is(err, errTooMuchParked) && len(records) > 1 {
		return h.judge(ctx, e, records[:len(records)/2])
	}
	if err != nil {
		return versioning.Result{}, err
	}
	result := versioning.Result{Outcomes: plan.Outcomes, Released: plan.Release}
	for _, p := range plan.Park {
		own(p.Record).parked = true
	}
	var more versioning.Result
	for _, again := range plan.Again {
		probe := &versioning.Record{Changes: []versioning.Change{{Machine: again.Machine, Key: again.Key}}}
		refolded, err := h.fold(ctx, e, []*versioning.Record{probe}, func(v *versioning.View) *versioning.Plan { return versioning.Refold(e.rules, v) })
		if err != nil { // what was judged before is remembered, so it must not be judged again
			return appendResult(result, more, records[:len(plan.Outcomes)]), err
		}
		more.Released = append(more.Released, refolded.Release...)
	}
	return appendResult(result, more, records[:len(plan.Outcomes)]), nil
}

// fold reads the view of records, adds what the Rehearsal has changed, and judges.
func (h *Rehearsal) fold(ctx context.Context, e *snapshot, records []*versioning.Record, judge func(*versioning.View) *versioning.Plan) (*versioning.Plan, error) {
	h.mu.Lock()
	if err := h.imagined.failed; err != nil {
		h.mu.Unlock()
		return nil, &versioning.Error{Cause: versioning.Fatal, Err: err}
	}
	asked := slices.Concat(records, h.imagined.waitingFor(records))
	h.mu.Unlock()
	view, err := h.view(ctx, e, asked)
	if err != nil {
		return nil, err
	}
	plan := judge(view)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.noteRedecoded(view, records, plan)
	h.noteKept(view, records, plan)
	if err := h.imagined.commit(view, plan); err != nil {
		return nil, err
	}
	if err := h.imagined.age(func(machine string) *rowType { return e.byMachine[machine].rows }); err != nil {
		return nil, &versioning.Error{Cause: versioning.Fatal, Err: err}
	}
	return plan, nil
}

// view reads the view of records, and adds what the Rehearsal has changed. What the database has
// parked may be about more entities, for which other records wait; like [snapshot.readEntities],
// it stops after a few rounds.
func (h *Rehearsal) view(ctx context.Context, e *snapshot, records []*versioning.Record) (view *versioning.View, err error) {
	const rounds = 4
	for range rounds {
		err = connected(ctx, e.pool, func(conn *pgxpool.Conn) (err error) {
			view, err = e.read(ctx, &transaction{store: e, conn: conn, begin: readOnlySQL}, records, false)
			_, end := conn.Exec(ctx, "ROLLBACK")
			return errors.Join(err, end)
		})
		if err != nil {
			return nil, err
		}
		h.mu.Lock()
		more := h.imagined.uncovered(view)
		h.mu.Unlock()
		if len(more) == 0 {
			break
		}
		records = append(records, more...)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return view, h.imagined.add(view, records)
}

// Redecoded returns the records so far that are decoded to something else than when they were
// applied. Only machines that identify changes by message notice it. Until [Rehearsal.LookUpOrigins]
// has read everything, these are only duplicates: records with the same entity and message ID as
// then.
func (h *Rehearsal) Redecoded() Redecoded {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.redrawn
}

// noteKept counts the records that the database has as parked or as dead letters, and that stay so.
func (h *Rehearsal) noteKept(view *versioning.View, records []*versioning.Record, plan *versioning.Plan) {
	var parked map[versioning.Origin]bool
	for i, o := range plan.Outcomes {
		switch {
		case o.DeadLettered():
			_, was := view.Dead[records[i].Origin]
			if _, ours := h.imagined.dead[records[i].Origin]; was && !ours {
				h.kept++
			}
		case o.Verdict == versioning.Early:
			if parked == nil {
				parked = make(map[versioning.Origin]bool, len(view.Parked))
				for _, p := range view.Parked {
					parked[p.Record.Origin] = true
				}
			}
			if parked[records[i].Origin] {
				h.kept++
			}
		}
	}
}

// Kept returns how many of the records so far are parked or dead letters in the database, and stay
// so.
func (h *Rehearsal) Kept() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.kept
}

// Changed returns how many entities the records so far would change.
func (h *Rehearsal) Changed() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.imagined.changed
}

// Close removes the file that the Rehearsal may have made.
func (h *Rehearsal) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.imagined.spill.close()
}

// Layout is like [Store.Layout].
func (h *Rehearsal) Layout(machine string) (Layout, bool) { return h.store.Layout(machine) }
