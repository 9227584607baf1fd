package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/time/rate"

	"github.com/pawl-go/pawl/internal/pace"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// Rebuilt is what Rebuild has done.
type Rebuilt struct {
	Entities  int64 `json:"entities"`  // that were replaced
	Unchanged int64 `json:"unchanged"` // that were as the topics make them

	// Refused counts the entities that were left as they are. Refusals has the first ones.
	Refused  int64     `json:"refused"`
	Refusals []Refusal `json:"refusals,omitempty"`
}

// A Refusal is an entity that Rebuild has left as it is.
type Refusal struct {
	Machine string `json:"machine"`
	Entity  string `json:"entity"`
	Reason  string `json:"reason"`
}

// Rebuild replaces entities by what the topics make of them: row, history, parked records and dead
// letters. Without entities it replaces all that differ. First it does what Verify does, or uses what
// that has left with Config.Keep.
//
// Each entity is replaced in one transaction, which keeps what was there before in table
// replaced of the framework's schema. Of the row, only state, version and the columns that Verify
// compares are written. The workers may go on: each transaction waits until none of theirs is
// between reading and writing, and they wait for it. Nothing is caused a second time: messages and
// jobs of the steps are dropped, and timers are armed only if they are not armed already.
//
// An entity with steps that did not come from what was read, except those of timers, would lose
// these or what they have done, so it is refused,
// as is one that the database does not let change, for instance because of a trigger or a foreign
// key. If Rebuild is interrupted, the next call goes on.
//
// Workers of builds from before version 7 of the schema do not take part in that: stop
// them before. If a record has moved several entities, name all of them, or the others keep what
// the record has done to them.
//
// The role needs the rights of a worker, DELETE on table transitions, and INSERT on table replaced.
// If a whole row is missing or superfluous, it needs INSERT or DELETE on the table of the entities.
func Rebuild(ctx context.Context, c Config, entities ...versioning.Entity) (*Report, error) {
	return withShadow(ctx, c, kindRebuild, func(h *shadow, s *state) error {
		b := &rebuild{shadow: h, state: s, done: &Rebuilt{}, meter: c.newMeter(stepRebuild, 0)}
		s.Report.Rebuilt = b.done
		if c.PerSecond > 0 {
			b.limiter = rate.NewLimiter(rate.Limit(c.PerSecond), 1)
		}
		if len(entities) == 0 {
			return b.differing(ctx)
		}
		b.total = int64(len(entities))
		for _, e := range entities {
			if err := b.entity(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// A rebuild replaces entities.
type rebuild struct {
	*shadow
	*state

	done    *Rebuilt
	total   int64
	meter   *meter
	limiter *rate.Limiter // nil: no limit
}

// differing replaces all entities that differ.
func (b *rebuild) differing(ctx context.Context) error {
	b.total = b.Report.Verified.Different
	for after := (versioning.Entity{}); ; {
		rows, err := b.pool.Query(ctx, fmt.Sprintf(`
SELECT machine, entity FROM %s.found WHERE (machine, entity) > ($1, $2) ORDER BY machine, entity LIMIT %d`, b.name, explainAtOnce), after.Machine, after.Key)
		if err != nil {
			return fmt.Errorf("list the differences: %w", err)
		}
		entities, err := pgx.CollectRows(rows, pgx.RowToStructByPos[versioning.Entity])
		if err != nil {
			return fmt.Errorf("list the differences: %w", err)
		}
		if len(entities) == 0 {
			return nil
		}
		for _, e := range entities {
			if err := b.entity(ctx, e); err != nil {
				return err
			}
		}
		after = entities[len(entities)-1]
	}
}

// A refusedError says why an entity stays as it is.
type refusedError struct{ reason string }

func (e *refusedError) Error() string { return e.reason }

// maxRebuildAttempts limits the attempts at an entity that others have locked, or move at the same
// moment.
const (
	maxRebuildAttempts = 30
	maxUniqueAttempts  = 3
)

// entity replaces an entity, or notes why not.
func (b *rebuild) entity(ctx context.Context, e versioning.Entity) error {
	waits := pace.Growing(shortestRetry, time.Second)
	if b.limiter != nil {
		if err := b.limiter.Wait(ctx); err != nil {
			return fmt.Errorf("wait for the next entity: %w", err)
		}
	}
	for attempt := 1; ; attempt++ {
		changed := false
		err := pgx.BeginFunc(ctx, b.cfg.Pool, func(tx pgx.Tx) (err error) {
			changed, err = b.replace(ctx, tx, e)
			return err
		})
		if err != nil && isWorthAgain(err, attempt) && pace.Sleep(ctx, waits.NextBackOff()) {
			continue
		}
		switch reason := reasonOf(err); {
		case isLocked(err):
			b.refuse(e, "somebody holds a lock, on its row or of a worker's transaction, for too long")
		case reason != "":
			b.refuse(e, reason)
		case err != nil:
			return fmt.Errorf("replace %s %s: %w", e.Machine, e.Key, err)
		case changed:
			b.done.Entities++
		default:
			b.done.Unchanged++
		}
		b.meter.show(b.done.Entities+b.done.Unchanged+b.done.Refused, b.total)
		return nil
	}
}

// isWorthAgain reports whether the next attempt may succeed.
func isWorthAgain(err error, attempt int) bool {
	problem, isProblem := errors.AsType[*pgconn.PgError](err)
	switch {
	case reasonOf(err) != "":
		return isProblem && isUnique(problem) && attempt < maxUniqueAttempts
	case errors.Is(err, errEmptied):
		return false
	}
	return attempt < maxRebuildAttempts
}

// reasonOf returns why an entity stays as it is; empty if the error does not say so.
func reasonOf(err error) string {
	if refused, ok := errors.AsType[*refusedError](err); ok {
		return refused.reason
	}
	if problem, ok := errors.AsType[*pgconn.PgError](err); ok && !isTrouble(problem) {
		return problem.Error()
	}
	return ""
}

// isLocked reports whether a lock was not free in time.
func isLocked(err error) bool {
	problem, ok := errors.AsType[*pgconn.PgError](err)
	return ok && problem.Code == "55P03"
}

// isUnique reports whether a value is taken. It may be free later: another entity that has it may be
// about to be replaced, or be gone.
func isUnique(err *pgconn.PgError) bool { return err.Code == "23505" }

// isTrouble reports whether an error says nothing about the entity: there was a deadlock, somebody
// holds a lock, or the server is in trouble.
func isTrouble(err *pgconn.PgError) bool {
	return slices.Contains([]string{"08", "40", "53", "55", "57", "58"}, err.Code[:2])
}

func (b *rebuild) refuse(e versioning.Entity, reason string) {
	b.done.Refused++
	if len(b.done.Refusals) < b.cfg.Differences {
		b.done.Refusals = append(b.done.Refusals, Refusal{e.Machine, e.Key, reason})
	}
}

// alone waits for the workers' transactions, so that none of them has read the entity already and has
// not written it yet: its row may have the same state and version as before, and then the worker's
// guard would not notice. It checks that the shadow is there.
func (b *rebuild) alone(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '"+excludeTimeout+"'"); err != nil {
		return fmt.Errorf("set the timeout: %w", err)
	}
	if err := postgres.Exclude(ctx, tx, b.cfg.Schema); err != nil {
		return err //nolint:wrapcheck // it says what it is about
	}
	if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '"+lockTimeout+"'"); err != nil {
		return fmt.Errorf("set the timeout: %w", err)
	}
	return b.isWhole(ctx, tx)
}

// Workers wait while a rebuild waits for them, so it does that briefly and often. The second one is
// for rows that others have locked.
const (
	excludeTimeout = "100ms"
	lockTimeout    = "1s"
)

// replace replaces an entity in a transaction.
func (b *rebuild) replace(ctx context.Context, tx pgx.Tx, e versioning.Entity) (changed bool, err error) {
	if _, ok := b.layout[e.Machine]; !ok {
		return false, &refusedError{fmt.Sprintf("there is no machine %q", e.Machine)}
	}
	if err := b.alone(ctx, tx); err != nil {
		return false, err
	}
	q := b.statements(tx, e, b.columnsOf(e.Machine, b.state))
	var live, anew, same, cut, whole bool
	var elsewhere, from, to int64
	q.row(ctx, lockSQL, &live)
	q.row(ctx, aboutSQL, &anew, &same, &elsewhere, &cut, &whole, &from, &to)
	if q.err != nil {
		return false, q.err
	}
	if same && elsewhere == 0 && !cut {
		return false, nil
	}
	refuse := func(reason string, args ...any) (bool, error) {
		return false, &refusedError{fmt.Sprintf(reason, args...)}
	}
	switch {
	case elsewhere > 0:
		return refuse("%d of its steps did not come from what was read, and would be lost", elsewhere)
	case live && !anew && !whole:
		return refuse("the topics do not make it, and its history does not begin with its first step, so it may be older than they are, and would be deleted")
	case cut:
		return refuse("it has steps that can't be compared, because another version of the machine or a record with another entity has made them, and would lose them")
	case to < from && b.mayEmit(e.Machine) && !b.cfg.LowerVersions:
		return refuse("its version would go back from %d to %d, and its next steps would cause messages and jobs with IDs that were used before; set Config.LowerVersions to accept that", from, to)
	}
	q.replace(ctx, live, anew)
	return true, q.err
}

// mayEmit reports whether a machine has functions, which may emit messages or enqueue jobs.
func (b *rebuild) mayEmit(machine string) bool {
	return slices.ContainsFunc(b.cfg.Tables, func(t postgres.Table) bool { return t.Machine.Name() == machine && t.Machine.RowType() != nil })
}

// write writes the result for a person to read.
func (r *Rebuilt) write(b *strings.Builder) {
	fmt.Fprintf(b, "\nreplaced %d entities; %d were as they should be", r.Entities, r.Unchanged)
	if r.Refused > 0 {
		fmt.Fprintf(b, "; %d were refused:", r.Refused)
	}
	const most = 10
	for i, x := range r.Refusals {
		if i == most {
			fmt.Fprintf(b, "\n%12s and %d more", "", r.Refused-most)
			break
		}
		fmt.Fprintf(b, "\n%12s %s %s: %s", "", x.Machine, x.Entity, x.Reason)
	}
}
