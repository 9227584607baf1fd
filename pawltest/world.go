package pawltest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// A world is a worker without a test: what was delivered, and the store that has it.
type world struct {
	cfg  *Config
	ctx  context.Context
	back backend
	rows map[string]*rowType // of the machines with functions
	pure *purity             // nil if functions are not checked

	now   time.Time
	sent  []*sent // by number, which is counted from 1
	fired []string
}

// A sent is a record that was delivered.
type sent struct {
	number   int64
	message  *message
	at       time.Time // the record's timestamp
	record   *versioning.Record
	first    versioning.Outcome // of the first delivery
	last     versioning.Outcome // of the last delivery, or of the release since
	outcome  versioning.Outcome // what became of it in the end: not that a later delivery is a duplicate
	branches map[int]int        // that the changes would have taken, if that is known
	text     string             // what the record asks for
}

// A fault is something that a machine must not do. Faults of one kind are the same mistake.
type fault struct {
	kind string
	text string
}

func newWorld(ctx context.Context, bench *testing.T, cfg *Config) (*world, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	w := &world{cfg: cfg, ctx: ctx, rows: make(map[string]*rowType), now: cfg.Start}
	for _, t := range cfg.Tables {
		if of := t.Machine.RowType(); of != nil {
			var err error
			if w.rows[t.Machine.Name()], err = newRowType(of); err != nil {
				return nil, err
			}
		}
	}
	var err error
	switch {
	case cfg.Pool != nil:
		if w.now.IsZero() {
			w.now = time.Now().UTC().Truncate(time.Microsecond)
		}
		w.back, err = newDatabase(ctx, cfg, w.rows, w.now)
	default:
		if w.now.IsZero() {
			w.now = defaultStart
		}
		w.back, err = newMemory(cfg, w.rows, w.now)
	}
	if err == nil && !cfg.Impure {
		w.pure, err = newPurity(bench, w)
	}
	return w, err
}

// entityOf returns the entity that a name stands for: a key, or "machine/key" if there are
// several machines.
func (w *world) entityOf(name string) (versioning.Entity, error) {
	if len(w.cfg.Tables) == 1 {
		return versioning.Entity{Machine: w.cfg.Tables[0].Machine.Name(), Key: name}, nil
	}
	machine, key, ok := strings.Cut(name, "/")
	if !ok || w.cfg.machine(machine) == nil {
		return versioning.Entity{}, fmt.Errorf("there are several machines, so entity %q needs the name of one: %q",
			name, w.cfg.Tables[0].Machine.Name()+"/"+name)
	}
	return versioning.Entity{Machine: machine, Key: key}, nil
}

// nameOf is the reverse of entityOf.
func (w *world) nameOf(e versioning.Entity) string {
	if len(w.cfg.Tables) == 1 {
		return e.Key
	}
	return e.String()
}

// send delivers a new record of a message.
func (w *world) send(m *message, crash crash) (*sent, *fault, error) {
	s := &sent{number: int64(len(w.sent) + 1), message: m, at: w.now}
	w.sent = append(w.sent, s)
	f, err := w.deliver(s, crash)
	return s, f, err
}

// deliver delivers a record, perhaps again. If it crashes, it delivers the record once more.
func (w *world) deliver(s *sent, crash crash) (*fault, error) {
	again := s.record != nil
	r, err := s.message.record(w.cfg, s.number, s.at)
	if err != nil {
		return nil, err
	}
	if s.message.raw != nil {
		if f := w.pure.decodes(r, w.cfg.Decode); f != nil {
			return f, nil
		}
	}
	w.back.Prepare(r)
	s.record, s.text = r, describe(r)
	f, branches, err := w.pure.check(r)
	if f != nil || err != nil {
		return f, err
	}
	if s.branches == nil {
		s.branches = branches
	}
	result, err := w.back.apply(w.ctx, r, crash)
	if crash != noCrash && (err == nil || errors.Is(err, errCrash)) {
		if result, err = w.again(s, result, again); err == nil {
			return w.broken(s), nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("apply delivery %d, %s: %w", s.number, s.text, err)
	}
	w.settle(s, result, again)
	return w.broken(s), nil
}

// again delivers a record once more after a crash. A verdict from before the crash counts.
func (w *world) again(s *sent, before versioning.Result, again bool) (versioning.Result, error) {
	result, err := w.back.apply(w.ctx, s.record, noCrash)
	if err != nil {
		return result, err
	}
	if len(before.Outcomes) == 0 {
		before = result
	}
	w.settle(s, before, again)
	w.release(result.Released)
	return result, nil
}

// settle notes outcomes.
func (w *world) settle(s *sent, result versioning.Result, again bool) {
	if len(result.Outcomes) > 0 {
		o := result.Outcomes[0]
		s.last = o
		if !again {
			s.first = o
		}
		if !again || o.Verdict != versioning.Duplicate {
			s.outcome = o
		}
	}
	w.release(result.Released)
}

// release notes the outcomes of records that were parked.
func (w *world) release(settled []versioning.Settled) {
	for _, released := range settled {
		if n := numberOf(released.Record.Origin); n > 0 && n <= int64(len(w.sent)) {
			w.sent[n-1].outcome, w.sent[n-1].last = released.Outcome, released.Outcome
		}
	}
}

// broken returns the fault of a record whose transition asks for the impossible.
func (w *world) broken(s *sent) *fault {
	if s.outcome.Reason == versioning.ReasonInvalidOutput {
		return &fault{"invalid output", fmt.Sprintf("delivery %d, %s: %s", s.number, s.text, s.outcome.Detail)}
	}
	return nil
}

// look returns what functions would see of an entity.
func (w *world) look(e versioning.Entity, columns bool) (values rowValues, state statemachine.State, version int64, err error) {
	if m, ok := w.back.(*memory); ok {
		row, _ := m.Row(e)
		return rowValues(row.Columns), row.State, row.Version, nil
	}
	found, err := w.back.entity(w.ctx, e)
	if err == nil && columns {
		values, err = w.back.columns(w.ctx, e)
	}
	if err != nil {
		return nil, "", 0, err
	}
	return values, found.State, found.Version, nil
}

// advance moves the clock and fires timers.
func (w *world) advance(to time.Time) (int, error) {
	w.now = to
	fired, err := w.back.fire(w.ctx, to)
	if err != nil {
		return 0, fmt.Errorf("fire timers: %w", err)
	}
	n := 0
	for _, s := range fired.Outcomes {
		if s.Outcome.Verdict != versioning.Ignored {
			n++
		}
		w.fired = append(w.fired, fmt.Sprintf("%s for %s: %s %s", s.Outcome.Event, s.Outcome.Entity.Key, s.Outcome.Verdict, s.Outcome.Reason))
	}
	w.release(fired.Released)
	return n, nil
}

// entity returns everything about an entity.
func (w *world) entity(e versioning.Entity) (*Entity, error) {
	found, err := w.back.entity(w.ctx, e)
	if err != nil {
		return nil, err
	}
	for i := range found.Parked {
		p := &found.Parked[i]
		if p.Delivery > 0 && p.Delivery <= int64(len(w.sent)) {
			p.Event = w.sent[p.Delivery-1].outcome.Event
		}
	}
	rows := w.rows[e.Machine]
	if rows == nil {
		return found, nil
	}
	values, err := w.back.columns(w.ctx, e)
	if err != nil {
		return nil, err
	}
	if found.Row, err = rows.value(values); err != nil {
		return nil, err
	}
	found.Columns = rows.others(found.Columns)
	return found, nil
}
