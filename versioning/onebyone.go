package versioning

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// maxOneByOne bounds the records whose rows are written one by one in one transaction:
// each takes a savepoint.
const maxOneByOne = 64

// ErrAllRefused is what every [*AllRefusedError] is.
var ErrAllRefused = errors.New("PostgreSQL refuses all records for one reason")

// An AllRefusedError says that PostgreSQL has refused more records in a row for one
// reason than [Table.MaxRefused], and took none in between. Nothing was written: what
// is wrong is hardly the records. It is one of infrastructure ([CauseOf]): once the
// database takes records again, the work goes on.
type AllRefusedError struct {
	Table    string
	Refused  int   // records in a row
	LastSeen error // what PostgreSQL said of the last one
}

func (e *AllRefusedError) Error() string {
	return fmt.Sprintf("table %s: PostgreSQL refused %d records in a row for one reason, which is hardly theirs; "+
		"look at the table, or raise Table.MaxRefused to have them become dead letters: %v", e.Table, e.Refused, e.LastSeen)
}

// Is reports whether target is [ErrAllRefused].
func (e *AllRefusedError) Is(target error) bool { return target == ErrAllRefused }

// errNobodyPassed marks an error that is no record's, since all records meet it.
var errNobodyPassed = errors.New("no record of the table gets through")

// refusals count the records of a table that were refused in a row for one reason.
type refusals struct {
	mu     sync.Mutex
	reason string
	count  int
	passed bool // a record has been written, some time
}

// pass notes that a record was written.
func (r *refusals) pass() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reason, r.count, r.passed = "", 0, true
}

func (r *refusals) hasPassed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.passed
}

// refuse returns how many are refused in a row with n more.
func (r *refusals) refuse(reason string, n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reason != reason {
		r.reason, r.count = reason, 0
	}
	r.count += n
	return r.count
}

// takeBack undoes a refuse of records that were not settled.
func (r *refusals) takeBack(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count = max(0, r.count-n)
}

// A trial writes the rows of a plan record by record, in the order in which they were
// decided, so that PostgreSQL's word on each is its word after all before it. It makes
// a new plan without those that are refused.
type trial struct {
	store   *Store
	tx      *transaction
	judge   func(refused map[*Record]error) *Plan
	plan    *Plan
	moves   []*Move
	refused map[*Record]error

	immediate bool // constraints are checked with each statement
	passed    map[*table]bool
	reasons   map[*table]map[string]int // of those refused
}

// oneByOne writes the rows of a plan one by one, and returns the plan that holds
// without the records that PostgreSQL refuses. The rows of it are written then.
func (s *Store) oneByOne(ctx context.Context, tx *transaction, judge func(map[*Record]error) *Plan) (*trial, error) {
	t := &trial{
		store: s, tx: tx, judge: judge, refused: make(map[*Record]error),
		passed: make(map[*table]bool), reasons: make(map[*table]map[string]int),
	}
	t.decide()
	size := 8 // records in one round trip: what comes after a refused one is sent again
	for done := 0; ; {
		left := t.tries()[done:]
		if len(left) == 0 {
			break
		}
		left = left[:min(size, len(left))]
		n, err := t.write(ctx, left)
		done += n
		for _, try := range left[:n] {
			for _, u := range try.units {
				t.passed[u.table] = true
			}
		}
		if err == nil {
			size = min(2*size, 128)
			continue
		}
		if !isRefusal(err) {
			return nil, err
		}
		if _, err := tx.conn.Exec(ctx, "ROLLBACK TO SAVEPOINT record; RELEASE SAVEPOINT record"); err != nil {
			return nil, fmt.Errorf("undo a record that PostgreSQL refused: %w", err)
		}
		size = max(4, n+1)
		t.refuse(left[n], err)
	}
	return t, t.doubt()
}

func (t *trial) decide() {
	t.plan = t.judge(t.refused)
	t.moves = inOrder(t.plan.Moves)
}

// A try is what one record writes to the rows.
type try struct {
	record *Record
	units  []*unit
}

// tries returns what the plan's records write, in the order in which they were decided.
func (t *trial) tries() []try {
	var units []*unit
	for _, m := range t.moves {
		table := t.store.byMachine[m.Entity.Machine]
		var prev *unit
		for i := range m.Steps {
			s := &m.Steps[i]
			u := &unit{table: table, move: m, steps: m.Steps[i : i+1], set: s.set(), seq: s.seq, prev: prev}
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

// write writes some records' rows in one round trip, each behind a savepoint. It
// returns how many of them were written before one failed.
func (t *trial) write(ctx context.Context, tries []try) (done int, err error) {
	w := &writer{store: t.store, batch: &pgx.Batch{}, immediate: t.immediate}
	for _, table := range t.store.tables {
		w.deferNothing(table)
	}
	t.immediate = w.immediate
	for _, try := range tries {
		w.batch.Queue("SAVEPOINT record")
		w.one(try)
		w.batch.Queue("RELEASE SAVEPOINT record").Exec(func(pgconn.CommandTag) error {
			done++
			return nil
		})
	}
	err = written(t.tx.SendBatch(ctx, w.batch).Close())
	return done, err
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

// refuse makes the plan anew without a record that PostgreSQL refused.
func (t *trial) refuse(try try, err error) {
	t.refused[try.record] = err
	for _, u := range try.units {
		if t.reasons[u.table] == nil {
			t.reasons[u.table] = make(map[string]int)
		}
		t.reasons[u.table][reasonOf(err)]++
	}
	t.decide()
}

// reasonOf names what PostgreSQL refused something for.
func reasonOf(err error) string {
	pgErr, _ := errors.AsType[*pgconn.PgError](err)
	if pgErr == nil {
		return ""
	}
	return pgErr.Code + " " + pgErr.ConstraintName
}

// doubt returns an error if it is hardly the records that were refused.
func (t *trial) doubt() error {
	for record, err := range t.refused {
		if CauseOf(err) == Data {
			continue
		}
		for _, c := range record.Changes { // an error that is not about data is a record's if others do not meet it
			table := t.store.byMachine[c.Machine]
			if table != nil && !t.passed[table] && (CauseOf(err) == Fatal || !table.refusals.hasPassed()) {
				return fmt.Errorf("%w (table %s): %w", errNobodyPassed, table.Name, err)
			}
		}
	}
	for table, reasons := range t.reasons {
		if t.passed[table] || len(reasons) > 1 || table.MaxRefused < 0 {
			continue
		}
		for reason, n := range reasons {
			if count := table.refusals.refuse(reason, n); count > table.MaxRefused {
				table.refusals.takeBack(n)
				return &AllRefusedError{Table: table.Name, Refused: count, LastSeen: t.anyOf(reason)}
			}
		}
	}
	return nil
}

func (t *trial) anyOf(reason string) error {
	for _, err := range t.refused {
		if reasonOf(err) == reason {
			return err
		}
	}
	return nil
}

// noteWritten notes for which tables PostgreSQL took records.
func (s *Store) noteWritten(moves []*Move) {
	var last *table
	for _, m := range moves {
		if t := s.byMachine[m.Entity.Machine]; t != last {
			t.refusals.pass()
			last = t
		}
	}
}

// isRefusal reports whether an error may be about the record that met it: it is not one
// about the connection, concurrency, resources, or what the whole batch needs.
func isRefusal(err error) bool {
	if CauseOf(err) == Data {
		return true
	}
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || errors.Is(err, ErrWritten) || errors.Is(err, errOwnTables) || len(pgErr.Code) != 5 {
		return false
	}
	switch pgErr.Code[:2] {
	case "0P", "24", "2F", "34", "39", "42": // a trigger that is broken, for this record at least
		return pgErr.Code != duplicateStatement
	}
	return pgErr.Code == internalError
}
