package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// maxParkedBytes limits the parked records that are read for one batch, so that they
// can't exhaust memory. A batch of one record reads everything parked for its entities;
// Table.MaxParked limits that.
const maxParkedBytes = 32 << 20

// errTooMuchParked asks for a smaller batch.
var errTooMuchParked = errors.New("the records parked for the entities of the batch are too large; use a smaller batch")

// errRead marks errors of reading.
var errRead = errors.New("read")

// A reader reads the view of one batch.
type reader struct {
	store       *snapshot
	tx          sender
	lock        bool // lock the rows until the transaction ends
	bounded     bool // return errTooMuchParked instead of reading more than maxParkedBytes
	view        *versioning.View
	known       []*versioning.Known // for each change of the batch, and then of the parked records
	pasts       []past              // by Known.Number minus 1
	keys        map[*table]texts    // of the entities that were read
	parked      []parkedInTurn      // those for the view, still unsorted
	askHistory  bool                // what was read with the rows does not decide every change
	askTimers   bool                // some changes are events of timers
	parkedBytes int
	relies      []reliance // for each table whose rows were recalled, not read
}

// read reads what a fold of the records needs, usually in one round trip: which of the
// records are dead letters, the rows with the messages of their first steps, and the
// records parked for them. Then it looks up in the history what that does not decide.
// The number of statements does not depend on the number of records.
func (s *snapshot) read(ctx context.Context, tx sender, records []*versioning.Record, lock bool) (*versioning.View, error) {
	r := s.newReader(tx, records, lock)
	return r.view, r.read(ctx, records)
}

func (r *reader) read(ctx context.Context, records []*versioning.Record) error {
	batch := &pgx.Batch{}
	r.readDead(batch, records)
	if err := r.readEntities(ctx, batch, records); err != nil {
		return fmt.Errorf("%w rows: %w", errRead, err)
	}
	if err := r.readPast(ctx, records); err != nil {
		return fmt.Errorf("%w history: %w", errRead, err)
	}
	if err := r.readSenders(ctx, records); err != nil {
		return fmt.Errorf("%w history: %w", errRead, err)
	}
	return nil
}

func (s *snapshot) newReader(tx sender, records []*versioning.Record, lock bool) *reader {
	changes := 0
	for _, r := range records {
		changes += len(r.Changes)
	}
	return &reader{
		store: s, tx: tx, lock: lock, bounded: len(records) > 1, view: versioning.NewView(changes),
		known: make([]*versioning.Known, 0, changes), pasts: make([]past, 0, changes), keys: make(map[*table]texts, len(s.tables)),
	}
}

// A past says how much of an entity's history was read.
type past struct {
	hasFirst bool     // all messages of its first steps were read
	hasMore  bool     // there are later steps, or may be
	hashes   []uint32 // of these messages, if they were read instead, because the batch has none of them

	memo *memo              // if it was recalled; nil if it was read
	next statemachine.State // if it was recalled: after the changes so far
}

func (r *reader) past(k *versioning.Known) *past { return &r.pasts[k.Number()-1] }

// send sends a batch unless it is empty.
func (r *reader) send(ctx context.Context, batch *pgx.Batch) error {
	if batch.Len() == 0 {
		return nil
	}
	return r.tx.SendBatch(ctx, batch).Close()
}

// readEntities reads the entities of the records, the records parked for them, the
// other entities of those, and so on. If parked records form a long chain of entities,
// it stops after a few rounds and leaves the rest for later. The first statements are
// sent together with those already in the batch. What is parked is that of the last round.
func (r *reader) readEntities(ctx context.Context, batch *pgx.Batch, records []*versioning.Record) error {
	const rounds = 4
	for range rounds {
		r.readRows(batch, r.unseen(records))
		if batch.Len() == 0 {
			break
		}
		if err := r.send(ctx, batch); err != nil {
			return err
		}
		batch = &pgx.Batch{}
		records = nil
		for _, p := range r.parked {
			records = append(records, p.Record)
		}
	}
	slices.SortFunc(r.parked, func(a, b parkedInTurn) int { return cmp.Compare(a.seq, b.seq) })
	for _, p := range r.parked {
		if covers(r.view, p.Record) {
			r.view.Parked = append(r.view.Parked, p.Parked)
		}
	}
	return nil
}

// fresh are entities of one table that were not read yet.
type fresh struct {
	table    *table
	entities []named
	messages bool    // look up their messages in the history
	asked    []asked // for each message that may have moved one of them
	atOnce   bool    // the messages were read without looking at their hashes
}

type named struct {
	key   string
	known *versioning.Known
}

// asked is a message of an entity, by their numbers.
type asked struct {
	entity int
	hash   uint32
}

// unseen returns the records' entities that were not read yet, by table. They are
// sorted by key, so that all transactions lock rows in the same order.
func (r *reader) unseen(records []*versioning.Record) []*fresh {
	var all []*fresh
	var f *fresh // of the last change's table
	for _, rec := range records {
		if rec.Err != nil {
			continue
		}
		for i := range rec.Changes {
			c := &rec.Changes[i]
			if f == nil || f.table.Machine.Name() != c.Machine {
				t, ok := r.store.byMachine[c.Machine]
				if !ok {
					r.known = append(r.known, nil)
					continue
				}
				if n := slices.IndexFunc(all, func(f *fresh) bool { return f.table == t }); n >= 0 {
					f = all[n]
				} else {
					f = &fresh{table: t}
					all = append(all, f)
				}
			}
			k, isNew := r.view.Add(rec.Entity(i))
			if isNew {
				r.pasts = append(r.pasts, past{})
				if f.entities == nil {
					f.entities, f.asked = make([]named, 0, len(records)), make([]asked, 0, len(records))
				}
				f.entities = append(f.entities, named{c.Key, k})
			}
			r.known = append(r.known, k)
			if c.Armed > 0 {
				r.askTimers = true
			}
			if !r.byMessage(c) {
				r.askHistory = true
				continue
			}
			f.messages = true
			if r.store.hashed {
				f.ask(k, c)
			}
		}
	}
	all = slices.DeleteFunc(all, func(f *fresh) bool { return len(f.entities) == 0 })
	slices.SortFunc(all, func(a, b *fresh) int {
		return cmp.Compare(slices.Index(r.store.tables, a.table), slices.Index(r.store.tables, b.table))
	})
	for _, f := range all {
		slices.SortFunc(f.entities, func(a, b named) int { return strings.Compare(a.key, b.key) })
	}
	return all
}

// keys returns the keys of the entities.
func (f *fresh) keys() texts {
	keys := make(texts, len(f.entities))
	for i := range f.entities {
		keys[i] = f.entities[i].key
	}
	return keys
}

// byMessage reports whether the message ID decides whether a change has already been
// made.
func (r *reader) byMessage(c *versioning.Change) bool {
	_, versioned := c.Expected.Version()
	return c.Armed > 0 || !versioned && r.store.rules[c.Machine].Identity == versioning.ByMessage
}

// covers reports whether a view has all entities that a record needs.
func covers(view *versioning.View, r *versioning.Record) bool {
	return r.Err != nil || !slices.ContainsFunc(r.Changes, func(c versioning.Change) bool {
		return view.Entities[versioning.Entity{Machine: c.Machine, Key: c.Key}] == nil
	})
}
