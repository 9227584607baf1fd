package versioning

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A DeadLetter is a record that could not be applied, whole, and why.
type DeadLetter struct {
	ID       int64
	Record   *Record // as it came; its changes are not kept: they are decoded again
	Outcome  Outcome
	Attempts int // 1, and one more for each redrive in vain
	DiedAt   time.Time
}

// A ParkedRecord is a record that waits for its entity to move.
type ParkedRecord struct {
	Parked

	// ParkedAt is when the record was parked, and later by the time that does not count
	// for Table.ParkFor.
	ParkedAt time.Time
}

// A Filter chooses dead letters or parked records. Its zero value chooses all;
// fields that are set must all match.
type Filter struct {
	IDs     []int64 // of dead letters
	Reason  Reason
	Machine string
	Key     string // of the entity
	Topic   string
	From    time.Time // died or parked at this time or later
	To      time.Time // died or parked before this time

	// After leaves out dead letters with this ID and lower ones, and Limit
	// bounds how many are returned: the pages of a long list. Limit 0 means 100.
	After int64
	Limit int
}

const defaultLimit = 100

// errDryRun rolls a dry run back.
var errDryRun = errors.New("dry run")

func (f Filter) args() []any {
	limit := f.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	return []any{f.IDs, string(f.Reason), f.Machine, f.Key, f.Topic, orNil(f.From), orNil(f.To), f.After, limit}
}

func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// DeadLetters returns the dead letters that match, by rising ID.
func (s *Store) DeadLetters(ctx context.Context, f Filter) ([]DeadLetter, error) {
	rows, err := s.pool.Query(ctx, s.schema.sql(listDeadSQL), append([]any{alone}, f.args()...)...)
	if err != nil {
		return nil, fmt.Errorf("list dead letters: %w", err)
	}
	letters, err := collectDeadLetters(rows)
	if err != nil {
		return nil, fmt.Errorf("list dead letters: %w", err)
	}
	return letters, nil
}

func collectDeadLetters(rows pgx.Rows) ([]DeadLetter, error) {
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (DeadLetter, error) {
		l := DeadLetter{Record: &Record{}}
		r := l.Record
		var headers []byte
		var verdict string
		err := row.Scan(&l.ID, &r.Origin.Topic, &r.Origin.TopicID, &r.Origin.Partition, &r.Origin.Offset,
			&r.kept, &verdict, &l.Outcome.Reason, &l.Outcome.Detail, &l.Outcome.Entity.Machine, &l.Outcome.Entity.Key,
			&l.Outcome.Event, &l.Attempts, &l.DiedAt, &r.Key, &r.Value, &headers, &r.Timestamp)
		if err != nil {
			return l, err
		}
		l.Outcome.Verdict = parseVerdict(verdict)
		r.Headers, err = decodeHeaders(headers)
		return l, err
	})
}

// Parked returns the parked records that match, in the order in which they were
// parked. Filter's IDs and After do not apply.
func (s *Store) Parked(ctx context.Context, f Filter) ([]ParkedRecord, error) {
	args := f.args()
	rows, err := s.pool.Query(ctx, s.schema.sql(listParkedSQL), append(append([]any{alone}, args[1:7]...), args[8])...)
	if err != nil {
		return nil, fmt.Errorf("list parked records: %w", err)
	}
	parked, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (ParkedRecord, error) {
		var at time.Time
		p, err := s.edition.Load().scanParked(row, &at)
		return ParkedRecord{Parked: p, ParkedAt: at}, err
	})
	if err != nil {
		return nil, fmt.Errorf("list parked records: %w", err)
	}
	return parked, nil
}

// Redrive gives dead letters another chance, in their order, through the same
// path as every record: decode says what each asks for, as it does for a record
// that arrives, and then they are judged against the entities as they are now.
// One that gets a better verdict is no dead letter any more; the others keep
// their place, with the new reason and one attempt more. Redriving twice does
// nothing twice.
//
// It returns the new verdicts, in order: Ignored means that the letter was gone,
// or asks for nothing any more. After an error they are those of the first
// letters, which are settled.
func (s *Store) Redrive(ctx context.Context, letters []DeadLetter, decode func(*Record) ([]Change, error)) ([]Outcome, error) {
	result, err := s.Apply(ctx, "", s.edition.Load().revived(letters, decode))
	return result.Outcomes, err
}

// DryRedrive returns the verdicts that Redrive would give, and writes nothing.
// It holds the locks of what it would write until it returns.
func (s *Store) DryRedrive(ctx context.Context, letters []DeadLetter, decode func(*Record) ([]Change, error)) (outcomes []Outcome, err error) {
	err = s.again(ctx, func(e *edition) error {
		outcomes = nil
		return pgx.BeginTxFunc(ctx, s.pool, pgxTransaction, func(tx pgx.Tx) error {
			for _, r := range e.revived(letters, decode) {
				outcome, err := e.tryOut(ctx, tx, r)
				if err != nil {
					return fmt.Errorf("try to redrive %s: %w", r.Origin, err)
				}
				outcomes = append(outcomes, outcome)
			}
			return errDryRun
		})
	})
	if errors.Is(err, errDryRun) {
		err = nil
	}
	return outcomes, throughPooler(err)
}

// revived makes records of dead letters, ready for Apply.
func (s *edition) revived(letters []DeadLetter, decode func(*Record) ([]Change, error)) []*Record {
	records := make([]*Record, len(letters))
	for i, l := range letters {
		r := *l.Record
		r.redrive = true
		r.Decode(decode)
		s.ready(&r)
		records[i] = &r
	}
	return records
}

// tryOut applies a record in a transaction that will be rolled back.
func (s *edition) tryOut(ctx context.Context, tx pgx.Tx, r *Record) (Outcome, error) {
	d := s.decisionOn([]*Record{r})
	var plan *Plan
	try := func(refused map[*Record]error) error {
		return pgx.BeginFunc(ctx, tx, func(savepoint pgx.Tx) error {
			view, err := d.read(ctx, savepoint, true)
			if err != nil {
				return err
			}
			plan = d.judge(view, refused)
			moves := inOrder(plan.Moves)
			return s.written(savepoint.SendBatch(ctx, s.writes(plan, moves, s.arrange(moves), 1, nil)).Close())
		})
	}
	err := try(nil)
	if isRefusal(err) {
		err = try(map[*Record]error{r: err})
	}
	if err != nil {
		return Outcome{}, err
	}
	return plan.Outcomes[0], nil
}
