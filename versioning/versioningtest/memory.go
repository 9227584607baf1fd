package versioningtest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/pawl-go/pawl/versioning"
)

// Memory is a store in memory. It is safe for concurrent use.
type Memory struct {
	rules map[string]versioning.Rules

	mu      sync.Mutex // of all below
	rows    map[versioning.Entity]Row
	history map[versioning.Entity][]Transition
	parked  []versioning.Parked // in the order of parking
	dead    []DeadLetter
	deadAt  map[versioning.Origin]int // index in dead
	before  BeforeFunc
	after   AfterFunc
}

// A BeforeFunc is called before a batch is decided. If it returns an error,
// Apply returns it and has done nothing. It may block.
type BeforeFunc func(context.Context, []*versioning.Record) error

// An AfterFunc is called after a batch has been committed, with its result. If
// it returns an error, Apply returns it and no outcomes, like a store that has
// lost its connection before the answer to COMMIT came. It may block.
type AfterFunc func(context.Context, versioning.Result) error

// NewMemory returns an empty store for entities of the given machines. It
// panics if two of them have the same name, or can't tell duplicates by state
// and are asked to.
func NewMemory(rules ...versioning.Rules) *Memory {
	m := &Memory{
		rules:   make(map[string]versioning.Rules, len(rules)),
		rows:    make(map[versioning.Entity]Row),
		history: make(map[versioning.Entity][]Transition),
		deadAt:  make(map[versioning.Origin]int),
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
		m.rules[name] = r
	}
	return m
}

// Before sets what is called before a batch is decided; nil is nothing. f is
// called without a lock, and may be called by several goroutines at once.
func (m *Memory) Before(f BeforeFunc) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.before = f
}

// After sets what is called after a batch was committed; nil is nothing. f is
// called without a lock, and may be called by several goroutines at once.
func (m *Memory) After(f AfterFunc) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.after = f
}

// hooks returns what is to be called around the batch in hand.
func (m *Memory) hooks() (BeforeFunc, AfterFunc) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.before, m.after
}

// Prepare makes a record ready for Apply; see [versioning.Prepare].
func (m *Memory) Prepare(r *versioning.Record) { versioning.Prepare(m.rules, r) }

// Apply decides about records and keeps what was decided, all or nothing. Its
// errors are those of the context and of the functions given to Before and
// After.
func (m *Memory) Apply(ctx context.Context, records []*versioning.Record) (versioning.Result, error) {
	if len(records) == 0 {
		return versioning.Result{}, nil
	}
	before, after := m.hooks()
	if before != nil {
		if err := before(ctx, records); err != nil {
			return versioning.Result{}, err
		}
	}
	if err := ctx.Err(); err != nil {
		return versioning.Result{}, err
	}
	result := m.apply(records)
	if after != nil {
		if err := after(ctx, result); err != nil {
			return versioning.Result{}, err
		}
	}
	return result, nil
}

func (m *Memory) apply(records []*versioning.Record) versioning.Result {
	m.mu.Lock()
	defer m.mu.Unlock()
	plan := versioning.Fold(m.rules, m.view(records), records)
	m.commit(plan)
	return versioning.Result{Outcomes: plan.Outcomes, Released: plan.Release}
}

// commit keeps what a plan decided.
func (m *Memory) commit(plan *versioning.Plan) {
	for i := range plan.Moves {
		m.move(&plan.Moves[i])
	}
	for _, p := range plan.Park {
		p.Record = clone(p.Record)
		m.parked = append(m.parked, p)
	}
	for _, p := range plan.Repark {
		m.parked[m.parkedAt(p.Record.Origin)] = p
	}
	for _, s := range plan.Release {
		m.unpark(s.Record.Origin)
	}
	for _, s := range plan.Dead {
		m.unpark(s.Record.Origin)
		m.deadAt[s.Record.Origin] = len(m.dead)
		m.dead = append(m.dead, deadLetter(s))
	}
}

func (m *Memory) move(move *versioning.Move) {
	row := m.rows[move.Entity]
	row.Columns = maps.Clone(row.Columns)
	for i := range move.Steps {
		step := &move.Steps[i]
		change := &step.Record.Changes[step.Change]
		m.history[move.Entity] = append(m.history[move.Entity], Transition{
			Version: step.Version, Event: step.Event, From: step.From, To: step.To,
			MessageID: change.MessageID, Origin: step.Record.Origin,
			Definition: m.rules[move.Entity.Machine].Machine.Version(),
		})
		for name, value := range change.Set {
			if row.Columns == nil {
				row.Columns = make(versioning.Columns)
			}
			row.Columns[name] = value
		}
	}
	row.State, row.Version = move.To()
	m.rows[move.Entity] = row
}

func (m *Memory) parkedAt(o versioning.Origin) int {
	return slices.IndexFunc(m.parked, func(p versioning.Parked) bool { return p.Record.Origin == o })
}

func (m *Memory) unpark(o versioning.Origin) {
	if i := m.parkedAt(o); i >= 0 {
		m.parked = slices.Delete(m.parked, i, i+1)
	}
}

// clone copies what the caller may go on to change.
func clone(r *versioning.Record) *versioning.Record {
	c := *r
	c.Changes = slices.Clone(r.Changes)
	return &c
}

func deadLetter(s versioning.Settled) DeadLetter {
	r := s.Record
	return DeadLetter{
		Origin: r.Origin, Key: r.Key, Value: r.Value, Headers: r.Headers,
		Timestamp: r.Timestamp.UnixMilli(), Outcome: s.Outcome,
	}
}
