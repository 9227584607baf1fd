package versioning

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/statemachine"
)

// reading says how a view is read.
type reading struct {
	lock    bool // lock the rows until the transaction ends
	parked  bool // read the records that are parked for the batch's entities
	bounded bool // return errTooMuchParked rather than read more than maxParkedBytes of them
}

// maxParkedBytes bounds the parked records that are read for one batch, so that
// no number of them can exhaust the memory. One record's own entities are read
// whatever waits for them: Table.MaxParked bounds that.
const maxParkedBytes = 32 << 20

// errTooMuchParked asks for a smaller batch.
var errTooMuchParked = errors.New("too much is parked for the entities of one batch")

// A reader reads the view of one batch.
type reader struct {
	store       *Store
	tx          pgx.Tx
	how         reading
	view        *View
	seen        map[Entity]bool
	parkedBytes int
	messages    map[MessageAt]bool // asked of the history
	steps       map[StepAt]bool    // likewise
}

// read reads what a fold of the records needs to know: first the rows (and what
// is parked for them, and which of the records are dead letters), then, for
// entities that have a past, what their history says of the batch's messages.
// The number of statements does not depend on the number of records.
func (s *Store) read(ctx context.Context, tx pgx.Tx, records []*Record, how reading) (*View, error) {
	r := &reader{
		store: s, tx: tx, how: how, seen: make(map[Entity]bool, len(records)),
		messages: make(map[MessageAt]bool), steps: make(map[StepAt]bool),
		view: &View{
			Rows: make(map[Entity]Row, len(records)), Messages: make(map[MessageAt]struct{}),
			Steps: make(map[StepAt]PastStep), Dead: make(map[Origin]Outcome),
		},
	}
	if err := r.readDead(ctx, records); err != nil {
		return nil, fmt.Errorf("read dead letters: %w", err)
	}
	if err := r.readEntities(ctx, records); err != nil {
		return nil, err
	}
	if err := r.readPast(ctx, records); err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	return r.view, nil
}

// readEntities reads the entities of the records, the records parked for them,
// the other entities of those, and so on. Where parked records hang together
// over more than a few entities, those further on are left for later.
func (r *reader) readEntities(ctx context.Context, records []*Record) error {
	const rounds = 4
	for range rounds {
		fresh := r.unseen(records)
		if len(fresh) == 0 {
			break
		}
		if err := r.readRows(ctx, fresh); err != nil {
			return fmt.Errorf("read rows: %w", err)
		}
		records = nil
		for _, p := range r.view.Parked {
			records = append(records, p.Record)
		}
	}
	slices.SortFunc(r.view.Parked, func(a, b Parked) int { return cmp.Compare(a.seq, b.seq) })
	r.view.Parked = slices.DeleteFunc(r.view.Parked, func(p Parked) bool { return !r.covers(p.Record) })
	return nil
}

// unseen returns the keys of the records' entities that were not read yet, by
// table, each sorted: transactions that lock rows do so in the same order.
func (r *reader) unseen(records []*Record) map[*table][]string {
	fresh := make(map[*table][]string)
	for _, rec := range records {
		if rec.Err != nil {
			continue
		}
		for i := range rec.Changes {
			c := &rec.Changes[i]
			name := Entity{c.Machine, c.Key}
			t, ok := r.store.byMachine[c.Machine]
			if !ok || r.seen[name] {
				continue
			}
			r.seen[name] = true
			fresh[t] = append(fresh[t], c.Key)
		}
	}
	for _, keys := range fresh {
		slices.Sort(keys)
	}
	return fresh
}

// covers reports whether all entities were read that a record needs.
func (r *reader) covers(rec *Record) bool {
	return rec.Err != nil || !slices.ContainsFunc(rec.Changes, func(c Change) bool { return !r.seen[Entity{c.Machine, c.Key}] })
}

func (r *reader) readRows(ctx context.Context, fresh map[*table][]string) error {
	if r.how.lock {
		if err := r.lockRows(ctx, fresh); err != nil {
			return err
		}
	}
	batch := &pgx.Batch{}
	for _, t := range r.store.tables {
		keys := fresh[t]
		if len(keys) == 0 {
			continue
		}
		machine := t.Machine.Name()
		batch.Queue(t.readSQL(), keys, machine).Query(func(rows pgx.Rows) error {
			return r.scanRows(rows, machine)
		})
		if r.how.parked {
			batch.Queue(readParkedSQL, machine, keys).Query(r.scanParked)
		}
	}
	return r.tx.SendBatch(ctx, batch).Close()
}

// lockRows is a statement of its own because PostgreSQL locks no row of the
// nullable side of an outer join, which reading needs.
func (r *reader) lockRows(ctx context.Context, fresh map[*table][]string) error {
	batch := &pgx.Batch{}
	for _, t := range r.store.tables {
		if len(fresh[t]) > 0 {
			batch.Queue(t.lockSQL(), fresh[t])
		}
	}
	return r.tx.SendBatch(ctx, batch).Close()
}

func (r *reader) scanRows(rows pgx.Rows, machine string) error {
	var key, state string
	var version int64
	var gone bool
	_, err := pgx.ForEachRow(rows, []any{&key, &state, &version, &gone}, func() error {
		r.view.Rows[Entity{machine, key}] = Row{State: statemachine.State(state), Version: version, Gone: gone}
		return nil
	})
	return err
}

// readPast asks the history about the messages and expected versions of the
// records, where the entity has a past that may know them.
func (r *reader) readPast(ctx context.Context, records []*Record) error {
	for _, rec := range records {
		r.askPast(rec)
	}
	for _, p := range r.view.Parked {
		r.askPast(p.Record)
	}
	batch := &pgx.Batch{}
	for _, t := range r.store.tables {
		r.queuePast(batch, t.Machine.Name())
	}
	if batch.Len() == 0 {
		return nil
	}
	return r.tx.SendBatch(ctx, batch).Close()
}

// askPast notes what the history has to be asked about a record's changes.
func (r *reader) askPast(rec *Record) {
	if rec.Err != nil {
		return
	}
	for i := range rec.Changes {
		c := &rec.Changes[i]
		name := Entity{c.Machine, c.Key}
		row, hasPast := r.view.Rows[name]
		if !hasPast {
			continue
		}
		expected, versioned := c.Expected.Version()
		switch {
		case versioned && expected < row.Version:
			r.steps[StepAt{name, expected + 1}] = true
		case !versioned && r.store.rules[c.Machine].Identity == ByMessage:
			r.messages[MessageAt{name, c.MessageID}] = true
		}
	}
}

// queuePast queues the questions about one machine.
func (r *reader) queuePast(batch *pgx.Batch, machine string) {
	var keys, ids []string
	for at := range r.messages {
		if at.Entity.Machine == machine {
			keys, ids = append(keys, at.Entity.Key), append(ids, at.MessageID)
		}
	}
	if len(keys) > 0 {
		scan := func(rows pgx.Rows) error { return r.scanMessages(rows, machine) }
		batch.Queue(readBeyondSQL, machine, keys, ids).Query(scan)
		batch.Queue(readFirstSQL, machine, slices.Compact(slices.Sorted(slices.Values(keys)))).Query(scan)
	}
	keys = nil
	var versions []int64
	for at := range r.steps {
		if at.Entity.Machine == machine {
			keys, versions = append(keys, at.Entity.Key), append(versions, at.Version)
		}
	}
	if len(keys) > 0 {
		batch.Queue(readStepsSQL, machine, keys, versions).Query(func(rows pgx.Rows) error {
			return r.scanSteps(rows, machine)
		})
	}
}

func (r *reader) scanMessages(rows pgx.Rows, machine string) error {
	var key, id string
	_, err := pgx.ForEachRow(rows, []any{&key, &id}, func() error {
		if at := (MessageAt{Entity{machine, key}, id}); r.messages[at] {
			r.view.Messages[at] = struct{}{}
		}
		return nil
	})
	return err
}

func (r *reader) scanSteps(rows pgx.Rows, machine string) error {
	var key, event, id string
	var version int64
	var at Origin
	into := []any{&key, &version, &event, &id, &at.TopicID, &at.Partition, &at.Offset}
	_, err := pgx.ForEachRow(rows, into, func() error {
		r.view.Steps[StepAt{Entity{machine, key}, version}] = PastStep{statemachine.Event(event), ownID(id, at)}
		return nil
	})
	return err
}

// readDead reads which of the records are dead letters already.
func (r *reader) readDead(ctx context.Context, records []*Record) error {
	var at keptAt
	for _, rec := range records {
		at.add(r.store, rec)
	}
	rows, err := r.tx.Query(ctx, readDeadSQL, at.ids, at.partitions, at.offsets, at.scopes)
	if err != nil {
		return err
	}
	var n int64
	var verdict, reason, detail, machine, entity, event string
	_, err = pgx.ForEachRow(rows, []any{&n, &verdict, &reason, &detail, &machine, &entity, &event}, func() error {
		r.view.Dead[records[n-1].Origin] = Outcome{
			Verdict: parseVerdict(verdict), Reason: Reason(reason), Detail: detail,
			Entity: Entity{machine, entity}, Event: statemachine.Event(event),
		}
		return nil
	})
	return err
}
