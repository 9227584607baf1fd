package versioningtest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// Memory is a store in memory. It is safe for concurrent use.
type Memory struct {
	rules   map[string]versioning.Rules
	codecs  map[string]*rowCodec              // of the machines with functions
	defined map[string][]statemachine.Outline // the definitions that the store has had, by machine and version

	mu     sync.Mutex // guards everything below
	hooks  hooks
	clock  func() time.Time // nil: time.Now
	server int              // how often it was restored
	lanes  lanes            // of the outbox

	database
}

// database is the content of a store.
type database struct {
	rows    map[versioning.Entity]Row
	history map[versioning.Entity][]Transition
	digests map[versioning.Entity][]versioning.Digest // of the steps in history
	parked  []versioning.Parked                       // in the order in which they were parked
	written map[versioning.Entity]int                 // the number of the last write of a row
	writes  int
	dead    []DeadLetter
	deadAt  map[versioning.Origin]int // index in dead
	marks   map[marked]versioning.Mark

	caused
}

// hooks are the functions called around a batch.
type hooks struct {
	before  BeforeFunc
	between BetweenFunc
	after   AfterFunc
}

// A BeforeFunc is called before a batch is decided. If it returns an error, Apply
// returns that error and does nothing. It may block.
type BeforeFunc func(context.Context, []*versioning.Record) error

// A BetweenFunc is called between reading and writing, with the plan to write. Others
// may write meanwhile: as in PostgreSQL, the batch is read and decided again if they
// have moved one of its rows. If a BetweenFunc returns an error, Apply returns that
// error and writes nothing. It may block. It is not called again when the batch is
// decided a second time, because the store stays locked from then on.
type BetweenFunc func(context.Context, *versioning.Plan) error

// An AfterFunc is called after a batch was committed, with its result. If it returns an
// error, Apply returns that error and no outcomes, like a store that loses its
// connection before the answer to COMMIT arrives. It may block.
type AfterFunc func(context.Context, versioning.Result) error

// NewMemory returns an empty store for the given machines. It panics if two of them
// have the same name, if one has identity ByState and its definition does not prove
// that, or if the row type or an event type of its functions can't be stored.
func NewMemory(rules ...versioning.Rules) *Memory {
	m := &Memory{
		rules:   make(map[string]versioning.Rules, len(rules)),
		codecs:  make(map[string]*rowCodec),
		defined: make(map[string][]statemachine.Outline),
		database: database{
			rows:    make(map[versioning.Entity]Row),
			history: make(map[versioning.Entity][]Transition),
			digests: make(map[versioning.Entity][]versioning.Digest),
			written: make(map[versioning.Entity]int),
			deadAt:  make(map[versioning.Origin]int),
			marks:   make(map[marked]versioning.Mark),
			caused:  caused{rearmed: make(map[armed]int64)},
		},
	}
	for _, r := range rules {
		name := r.Machine.Name()
		if _, twice := m.rules[name]; twice {
			panic(fmt.Sprintf("versioningtest: two machines are called %q", name))
		}
		if r.Identity == versioning.ByState {
			if err := r.Machine.ProveStateIdentity(); err != nil {
				panic(err)
			}
		}
		if err := m.addFunctions(&r); err != nil {
			panic(err)
		}
		m.rules[name] = r
	}
	return m
}

// addFunctions adds what the fold needs to call a machine's functions.
func (m *Memory) addFunctions(r *versioning.Rules) (err error) {
	if r.Machine.RowType() == nil {
		return nil
	}
	codec, err := newRowCodec(r.Machine.RowType())
	if err != nil {
		return err
	}
	m.codecs[r.Machine.Name()] = codec
	r.Functions, err = versioning.NewFunctions(r.Machine, codec)
	return err
}

// Rules returns the rules of the store's machines, by name, with what the fold needs to
// call their functions.
func (m *Memory) Rules() map[string]versioning.Rules { return maps.Clone(m.rules) }

// Before sets the function to call before a batch is decided; nil means none. f is
// called without a lock, and may be called concurrently.
func (m *Memory) Before(f BeforeFunc) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hooks.before = f
}

// Between sets the function to call between reading and writing; nil means none. f is
// called without a lock, and may be called concurrently. If f changes the plan, the
// changed plan is written and its outcomes are returned. With that, a test can show
// that it would notice a store that writes something else.
func (m *Memory) Between(f BetweenFunc) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hooks.between = f
}

// After sets the function to call after a batch was committed; nil means none. f is
// called without a lock, and may be called concurrently.
func (m *Memory) After(f AfterFunc) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hooks.after = f
}

func (m *Memory) currentHooks() hooks {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.hooks
}

// Prepare makes a record ready for Apply; see [versioning.Prepare].
func (m *Memory) Prepare(r *versioning.Record) { versioning.Prepare(m.rules, r) }

// Split distributes records to lists that can be applied concurrently; see
// [postgres.Store.Split].
func (m *Memory) Split(ctx context.Context, records []*versioning.Record, n int) (lists [][]*versioning.Record, index [][]int, err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var ties [][]versioning.Entity
	for _, p := range m.parked {
		tie := make([]versioning.Entity, len(p.Record.Changes))
		for i, c := range p.Record.Changes {
			tie[i] = versioning.Entity{Machine: c.Machine, Key: c.Key}
		}
		ties = append(ties, tie)
	}
	lists, index = versioning.Split(records, ties, n)
	return lists, index, nil
}

// Apply decides records and stores the result, all or nothing. Its errors are those of
// the context and of the functions passed to Before, Between and After.
func (m *Memory) Apply(ctx context.Context, on versioning.Server, records []*versioning.Record) (versioning.Result, error) {
	if len(records) == 0 {
		return versioning.Result{}, nil
	}
	return m.apply(ctx, &batch{on: on, records: records})
}

// A batch is what one transaction settles.
type batch struct {
	on      versioning.Server // any, if empty
	records []*versioning.Record
	timers  []Timer // those whose records these are; empty for other records
}

func (m *Memory) apply(ctx context.Context, b *batch) (versioning.Result, error) {
	hooks := m.currentHooks()
	if hooks.before != nil {
		if err := hooks.before(ctx, b.records); err != nil {
			return versioning.Result{}, err
		}
	}
	if err := ctx.Err(); err != nil {
		return versioning.Result{}, err
	}
	plan, err := m.transact(ctx, hooks.between, b)
	if err != nil {
		return versioning.Result{}, err
	}
	m.wake()
	result := versioning.Result{Outcomes: plan.Outcomes, Released: plan.Release}
	if hooks.after != nil {
		if err := hooks.after(ctx, result); err != nil {
			return versioning.Result{}, err
		}
	}
	return result, nil
}

// Do makes changes for a caller that waits for the outcome, as Store.Do of package postgres
// does: what can't be made is neither parked nor stored as a dead letter. Concurrent calls
// are not gathered.
func (m *Memory) Do(ctx context.Context, changes ...versioning.Change) (versioning.Outcome, error) {
	if err := ctx.Err(); err != nil {
		return versioning.Outcome{}, fmt.Errorf("nothing was changed: %w", err)
	}
	r := &versioning.Record{Direct: true, Changes: slices.Clone(changes), Origin: versioning.Origin{Offset: rand.Int64()}, Timestamp: time.Now()}
	m.Prepare(r)
	return m.settle(ctx, r)
}

// Deliver makes changes like Do, but keeps what can't be made, as Store.Deliver of package
// postgres does: parked, or as a dead letter, which has no value here.
func (m *Memory) Deliver(ctx context.Context, changes ...versioning.Change) (versioning.Outcome, error) {
	if err := ctx.Err(); err != nil {
		return versioning.Outcome{}, fmt.Errorf("nothing was changed: %w", err)
	}
	return m.settle(ctx, versioning.NewDelivery(changes, time.Now(), rand.Int64(), m.Prepare))
}

// settle settles the record of a caller.
func (m *Memory) settle(ctx context.Context, r *versioning.Record) (versioning.Outcome, error) {
	result, err := m.Apply(ctx, "", []*versioning.Record{r})
	if err != nil {
		return versioning.Outcome{}, fmt.Errorf("%w: %w", versioning.ErrFateUnknown, err)
	}
	return result.Outcomes[0], nil
}

// transact reads, decides and writes. The first attempt does not lock between reading
// and writing. If rows were moved in between, the second attempt does.
func (m *Memory) transact(ctx context.Context, between BetweenFunc, b *batch) (*versioning.Plan, error) {
	plan, server := m.decide(b.records)
	if b.on != "" && b.on != server {
		return nil, versioning.ErrServerChanged
	}
	if between != nil {
		if err := between(ctx, plan); err != nil {
			return nil, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.here() != server {
		return nil, errGone
	}
	if m.unclaimed(b) || !m.unmoved(plan) {
		plan = versioning.Fold(m.rules, m.view(b.records), b.records)
	}
	m.commit(plan)
	m.disarm(b.timers)
	return plan, nil
}

func (m *Memory) decide(records []*versioning.Record) (*versioning.Plan, versioning.Server) {
	m.mu.Lock()
	view, server := m.view(records), m.here()
	m.mu.Unlock()
	return versioning.Fold(m.rules, view, records), server
}
