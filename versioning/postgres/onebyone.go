package postgres

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
)

// A trial writes the rows of a plan record by record, in the order in which they were
// decided, so that PostgreSQL judges each record after all records before it. It makes
// a new plan without the records that PostgreSQL refuses.
type trial struct {
	store    *snapshot
	pipeline *pipeline
	view     *versioning.View
	judge    func(*versioning.View) *versioning.Plan
	script   *script
	refused  map[*versioning.Record]error
	passed   map[*table]bool
	reasons  map[*table]map[string]int // why records were refused
}

// writeOneByOne writes the rows of a plan one by one. Its result has the script of the plan
// without the records that PostgreSQL refuses; the rows of that plan are then written.
//
// It sends many records in one round trip. If one of them is refused, the plan for the
// records after it may no longer hold. They are judged again, and what was written is
// kept only if the new plan has it next.
func (s *snapshot) writeOneByOne(ctx context.Context, tx *transaction, view *versioning.View, judge func(*versioning.View) *versioning.Plan) (*trial, error) {
	t := &trial{
		store: s, pipeline: newPipeline(tx.conn.Conn()), view: view, judge: judge, refused: make(map[*versioning.Record]error),
		passed: make(map[*table]bool), reasons: make(map[*table]map[string]int),
	}
	defer t.pipeline.close(ctx)
	if slices.ContainsFunc(s.tables, func(table *table) bool { return len(table.rules.deferred) > 0 }) {
		if _, err := tx.conn.Exec(ctx, checkNowSQL); err != nil {
			return nil, err
		}
	}
	t.decide()
	size := minTries
	for done := 0; ; {
		left := t.tries()[done:]
		if len(left) == 0 {
			err := t.checkRefusals()
			return t, err
		}
		some := left[:min(size, len(left))]
		kept, wasted, err := t.round(ctx, some, done)
		if err != nil {
			return nil, err
		}
		done += kept
		if size = min(2*size, maxTries); wasted > 0 {
			size = max(minTries, min(2*(len(some)-wasted), size))
		}
	}
}

// minTries and maxTries limit the records of one round trip: records after a refused
// one may have to be sent again, and each needs a savepoint.
const (
	minTries = 8
	maxTries = 128
)

func (t *trial) decide() {
	t.view.Refused = t.refused
	t.script = t.store.withoutRows(t.judge(t.view))
}

// A try is the writes of one record to rows.
type try struct {
	record *versioning.Record
	units  []*unit
}

// tries returns what the plan's records write, in the order in which they were decided.
func (t *trial) tries() []try { return t.store.tries(t.script.moves) }

func (s *snapshot) tries(moves []*versioning.Move) []try {
	var units []*unit
	for _, m := range moves {
		table := s.byMachine[m.Entity.Machine]
		var prev *unit
		for i := range m.Steps {
			s := &m.Steps[i]
			u := &unit{table: table, move: m, steps: m.Steps[i : i+1], set: setBy(s), seq: s.Seq, prev: prev}
			units, prev = append(units, u), u
		}
	}
	slices.SortFunc(units, byLog)
	var tries []try
	for _, u := range units {
		r := u.steps[0].Record
		if n := len(tries); n > 0 && tries[n-1].record == r {
			tries[n-1].units = append(tries[n-1].units, u)
			continue
		}
		tries = append(tries, try{r, []*unit{u}})
	}
	return tries
}

// round writes the rows of some records: the next ones after those that are done. It
// returns how many tries of the resulting plan are done as a result, and how many tries
// were wasted.
func (t *trial) round(ctx context.Context, tries []try, done int) (kept, wasted int, err error) {
	results, err := t.write(ctx, tries)
	if err != nil {
		return 0, 0, err
	}
	taken, refused, err := sift(tries, results)
	if err != nil || len(refused) == 0 {
		return len(taken), 0, err
	}
	for _, i := range refused {
		t.refuse(tries[i], results[i])
	}
	t.decide()
	kept = t.agrees(tries, taken, done)
	inTurn := t.inTurn(tries, taken, kept, refused, done)
	if inTurn < len(refused) { // the rest will be tried again, after what the plan now has before them
		for _, i := range refused[inTurn:] {
			t.unrefuse(tries[i], results[i])
		}
		t.decide()
		kept = t.agrees(tries, taken[:kept], done)
	}
	wasted = len(tries) - kept - inTurn
	if kept == len(taken) {
		return kept, wasted, nil
	}
	return kept, wasted, t.repeat(ctx, t.tries()[done:done+kept])
}

// inTurn returns how many of the refused tries, from the first one on, were made after
// exactly those tries that the plan has before them. After anything else they may be
// accepted, because a refused record changes the verdicts on the records after it.
func (t *trial) inTurn(tries []try, taken []int, kept int, refused []int, done int) int {
	next := t.tries()[done:]
	for n, i := range refused {
		before, _ := slices.BinarySearch(taken, i)
		turn, ok := t.script.plan.Refused[tries[i].record]
		if before > kept || !ok || before < len(next) && next[before].units[0].seq < turn {
			return n
		}
	}
	return len(refused)
}

// sift returns which tries were accepted, and which were refused because of themselves.
// The remaining ones depend on the entity of a failed try.
func sift(tries []try, results []error) (taken, refused []int, err error) {
	lost := make(map[versioning.Entity]bool)
	for i, try := range tries {
		err := results[i]
		if err == nil {
			taken = append(taken, i)
			continue
		}
		onLost := slices.ContainsFunc(try.record.Changes, func(c versioning.Change) bool { return lost[versioning.Entity{Machine: c.Machine, Key: c.Key}] })
		for c := range try.record.Changes {
			lost[try.record.Entity(c)] = true
		}
		switch {
		case onLost && (isRefusal(err) || errors.Is(err, errMoved)):
		case isRefusal(err):
			refused = append(refused, i)
		default:
			return nil, nil, err
		}
	}
	return taken, refused, nil
}

// agrees returns how many of the accepted tries, from the first one on, the plan has in
// the same places.
func (t *trial) agrees(tries []try, taken []int, done int) int {
	next := t.tries()[done:]
	for n, i := range taken {
		if n == len(next) || !next[n].equal(tries[i]) {
			return n
		}
	}
	return len(taken)
}

func (t try) equal(other try) bool {
	return t.record == other.record && slices.EqualFunc(t.units, other.units, func(a, b *unit) bool {
		x, y := a.steps[0], b.steps[0]
		return a.move.Entity == b.move.Entity && x.Version == y.Version && x.From == y.From && x.To == y.To && x.Change == y.Change &&
			slices.Equal(a.set, b.set) // what functions have computed depends on the records before
	})
}

// repeat undoes the last round, and repeats what is to be kept of it.
func (t *trial) repeat(ctx context.Context, tries []try) error {
	if err := t.pipeline.undo(ctx); err != nil || len(tries) == 0 {
		return err
	}
	results, err := t.write(ctx, tries)
	return errors.Join(err, errors.Join(results...))
}

// write writes the rows of some records in one round trip, and returns the result of
// each.
func (t *trial) write(ctx context.Context, tries []try) ([]error, error) {
	statements := make([][]*pgx.QueuedQuery, len(tries))
	for i, try := range tries {
		w := &writer{store: t.store, batch: &pgx.Batch{}}
		w.one(try)
		statements[i] = w.batch.QueuedQueries
	}
	results, err := t.pipeline.try(ctx, statements)
	for i, err := range results {
		for _, u := range tries[i].units {
			if len(u.table.rules.triggers) > 0 {
				err = u.table.verified(t.store.schema, err)
			}
			if err == nil {
				t.passed[u.table] = true
			}
		}
		results[i] = t.store.written(err)
	}
	return results, err
}

// one queues the writes of one record. Constraints are checked at its end.
func (w *writer) one(try try) {
	var deferred []string
	if len(try.units) > 1 {
		for _, u := range try.units {
			deferred = append(deferred, u.table.rules.deferred...)
		}
	}
	if len(deferred) > 0 {
		slices.Sort(deferred)
		w.batch.Queue("SET CONSTRAINTS " + strings.Join(slices.Compact(deferred), ", ") + " DEFERRED")
	}
	for _, u := range try.units {
		if u.create() {
			w.insert(u.table, []*unit{u})
		} else {
			w.update(u.table, []*unit{u})
		}
	}
	if len(deferred) > 0 {
		w.batch.Queue(checkNowSQL)
	}
}
