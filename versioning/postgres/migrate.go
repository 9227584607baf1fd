package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// A Migration says how [Store.Migrate] works. The zero value migrates all machines of the store,
// as fast as it can.
type Migration struct {
	// Machine is the machine whose entities are migrated. Empty means each of the store.
	Machine string

	// Batch limits the entities of one transaction. 0 means 500.
	Batch int

	// PerSecond limits the entities that are migrated in a second. 0 means no limit.
	PerSecond int

	// DryRun judges the entities and writes nothing.
	DryRun bool

	// Progress is called after each batch with what was done so far. nil is allowed.
	Progress func(Migrated)
}

// Migrated is what Migrate has done.
type Migrated struct {
	Moved int64 // or, in a dry run, would be moved

	// Left are entities that could not be moved, because a function refused or PostgreSQL did
	// not accept the row. They stay in their state. Failures has the outcomes of the first
	// hundred of them.
	Left     int64
	Failures []versioning.Outcome
}

const (
	defaultMigrationBatch = 500
	maxMigrationFailures  = 100
)

// Migrate moves all entities in retired states, as the definition's Migrations say. Each takes
// a step with the event [statemachine.Migrated], under the same guard as that of a record: it has
// a row in the history, arms the timers of the new state, and releases the records that are
// parked for the entity. So workers of old and new versions may run meanwhile, and Migrate may
// be called by several processes at once. If it is interrupted, call it again: it goes on with
// what is left.
//
// An entity that an older worker puts into a retired state later is found by the next call.
func (s *Store) Migrate(ctx context.Context, how Migration) (done Migrated, err error) {
	if how.Batch <= 0 {
		how.Batch = defaultMigrationBatch
	}
	if how.PerSecond > 0 {
		how.Batch = min(how.Batch, how.PerSecond)
	}
	for _, t := range s.snapshot.Load().tables {
		if len(t.Machine.Retired()) == 0 || how.Machine != "" && how.Machine != t.Machine.Name() {
			continue
		}
		if err := s.migrate(ctx, t, how, &done); err != nil {
			return done, withCause(fmt.Errorf("migrate the entities of machine %q: %w", t.Machine.Name(), err))
		}
	}
	return done, nil
}

func (s *Store) migrate(ctx context.Context, t *table, how Migration, done *Migrated) error {
	began := time.Now()
	moved := int64(0)
	for after := (*string)(nil); ; {
		keys, err := s.retiredKeys(ctx, t, after, how.Batch)
		if err != nil || len(keys) == 0 {
			return err
		}
		after = &keys[len(keys)-1]
		outcomes, err := s.migrateKeys(ctx, t, keys, how.DryRun)
		for _, o := range outcomes {
			switch o.Verdict {
			case versioning.Applied:
				done.Moved++
			case versioning.Early: // another worker has moved it, or will
			default:
				done.Left++
				if len(done.Failures) < maxMigrationFailures {
					done.Failures = append(done.Failures, o)
				}
			}
		}
		if err != nil {
			return err
		}
		if how.Progress != nil {
			how.Progress(*done)
		}
		if moved += int64(len(keys)); how.PerSecond > 0 {
			due := began.Add(time.Duration(float64(moved) / float64(how.PerSecond) * float64(time.Second)))
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Until(due)):
			}
		}
	}
}

// retiredKeys returns the next keys of entities in retired states, in the order of the keys.
func (s *Store) retiredKeys(ctx context.Context, t *table, after *string, limit int) ([]string, error) {
	var states []string
	for _, state := range t.Machine.Retired() {
		states = append(states, string(state))
	}
	rows, err := s.pool.Query(ctx, t.retiredSQL(), oneMessage, states, after, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// retiredSQL returns the keys, after $2, of $3 rows whose state is one of $1.
func (t *table) retiredSQL() string {
	key := t.key.sqlName()
	return fmt.Sprintf(`
SELECT %[1]s::text FROM %[2]s WHERE %[3]s::text = ANY ($1::text[]) AND ($2::text IS NULL OR %[1]s > %[4]s%[5]s)
ORDER BY %[1]s LIMIT $3`, key, t.ident, t.state.sqlName(), t.key.castOrNull("$2::text"), t.key.collate())
}

// migrateKeys migrates entities in one transaction, or in several if one of them can't be
// written.
func (s *Store) migrateKeys(ctx context.Context, t *table, keys []string, dry bool) ([]versioning.Outcome, error) {
	records := make([]*versioning.Record, len(keys))
	for i, key := range keys {
		r := &versioning.Record{
			Direct: true, Timestamp: time.Now(), Origin: versioning.Origin{Offset: rand.Int64()},
			Changes: []versioning.Change{{Machine: t.Machine.Name(), Key: key, Event: statemachine.Migrated}},
		}
		s.Prepare(r)
		records[i] = r
	}
	if dry {
		return s.dryMigrate(ctx, records)
	}
	var all versioning.Result
	for attempt := 1; ; attempt++ {
		result, err := s.Apply(ctx, "", records[len(all.Outcomes):])
		all = appendResult(all, result, records[:len(all.Outcomes)])
		if err == nil || attempt == maxMigrationAttempts || !isRolledBack(err) && !errors.Is(err, versioning.ErrContended) {
			return all.Outcomes, err
		}
	}
}

const maxMigrationAttempts = 10

// dryMigrate judges records against the rows as they are, and writes nothing.
func (s *Store) dryMigrate(ctx context.Context, records []*versioning.Record) (outcomes []versioning.Outcome, err error) {
	err = s.retryAltered(ctx, func(e *snapshot) error {
		for _, r := range records {
			e.ready(r)
		}
		outcomes = nil
		return pgx.BeginTxFunc(ctx, s.pool, repeatableRead, func(tx pgx.Tx) error {
			d := e.decisionOn(records)
			view, err := e.read(ctx, tx, d.records, false)
			if err != nil {
				return err
			}
			outcomes = d.judge(view).Outcomes
			return nil
		})
	})
	return outcomes, err
}
