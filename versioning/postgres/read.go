package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
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

// errRead marks an error of reading.
var errRead = errors.New("read")

// A reader reads the view of one batch.
type reader struct {
	store       *edition
	tx          sender
	how         reading
	view        *view
	known       []*versioning.Known // of the batch's changes, one after the other, and then of those of parked records
	pasts       []past              // of the entities, by Known.Number less 1
	parked      []parkedInTurn      // to become those of the view
	askHistory  bool                // what comes with the rows does not decide about every change
	parkedBytes int
}

// read reads what a fold of the records needs to know, as a rule in one round
// trip: which of the records are dead letters, the rows, with the messages of
// their first steps, and what is parked for them. Then it asks the history about
// the records that this does not decide about. The number of statements does not depend on the number of records.
func (s *edition) read(ctx context.Context, tx sender, records []*versioning.Record, how reading) (*view, error) {
	r := s.newReader(tx, records, how)
	batch := &pgx.Batch{}
	r.readDead(batch, records)
	if err := r.readEntities(ctx, batch, records); err != nil {
		return nil, fmt.Errorf("%w rows: %w", errRead, err)
	}
	if err := r.readPast(ctx, records); err != nil {
		return nil, fmt.Errorf("%w history: %w", errRead, err)
	}
	if err := r.readSenders(ctx, records); err != nil {
		return nil, fmt.Errorf("%w history: %w", errRead, err)
	}
	return r.view, nil
}

func (s *edition) newReader(tx sender, records []*versioning.Record, how reading) *reader {
	changes := 0
	for _, r := range records {
		changes += len(r.Changes)
	}
	return &reader{
		store: s, tx: tx, how: how, known: make([]*versioning.Known, 0, changes), pasts: make([]past, 0, changes),
		view: &view{View: *versioning.NewView(changes)},
	}
}

// A past is how much of an entity's history was read.
type past struct {
	hasFirst bool // all messages of its first steps
	goesOn   bool // there are steps beyond these, or may be
}

func (r *reader) past(k *versioning.Known) *past { return &r.pasts[k.Number()-1] }

// send sends a batch, if it is one.
func (r *reader) send(ctx context.Context, batch *pgx.Batch) error {
	if batch.Len() == 0 {
		return nil
	}
	return r.tx.SendBatch(ctx, batch).Close()
}

// readEntities reads the entities of the records, the records parked for them,
// the other entities of those, and so on. Where parked records hang together
// over more than a few entities, those further on are left for later. The first
// statements go with those that are in the batch already.
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
		if r.covers(p.Record) {
			r.view.Parked = append(r.view.Parked, p.Parked)
		}
	}
	return nil
}

// fresh are entities of one table that were not read yet.
type fresh struct {
	keys     texts
	entities []*versioning.Known
	messages bool // the history is to be asked for messages
}

// unseen returns the records' entities that were not read yet, by table, each
// sorted by key: transactions that lock rows do so in the same order.
func (r *reader) unseen(records []*versioning.Record) map[*table]*fresh {
	type named struct {
		key   string
		known *versioning.Known
	}
	unseen := make(map[*table]*fresh, len(r.store.tables))
	entities := make(map[*table][]named, len(r.store.tables))
	for _, rec := range records {
		if rec.Err != nil {
			continue
		}
		for i := range rec.Changes {
			c := &rec.Changes[i]
			t, ok := r.store.byMachine[c.Machine]
			if !ok {
				r.known = append(r.known, nil)
				continue
			}
			k, isNew := r.view.Add(rec.Entity(i))
			if isNew {
				r.pasts = append(r.pasts, past{})
				entities[t] = append(entities[t], named{c.Key, k})
				if unseen[t] == nil {
					unseen[t] = &fresh{}
				}
			}
			r.known = append(r.known, k)
			if !r.byMessage(c) {
				r.askHistory = true
			} else if f := unseen[t]; f != nil {
				f.messages = true
			}
		}
	}
	for t, f := range unseen {
		slices.SortFunc(entities[t], func(a, b named) int { return strings.Compare(a.key, b.key) })
		f.keys, f.entities = make(texts, len(entities[t])), make([]*versioning.Known, len(entities[t]))
		for i, e := range entities[t] {
			f.keys[i], f.entities[i] = e.key, e.known
		}
	}
	return unseen
}

// byMessage reports whether it is the message that tells whether a change has been
// made.
func (r *reader) byMessage(c *versioning.Change) bool {
	_, versioned := c.Expected.Version()
	return !versioned && r.store.rules[c.Machine].Identity == versioning.ByMessage
}

// covers reports whether all entities were read that a record needs.
func (r *reader) covers(rec *versioning.Record) bool {
	return rec.Err != nil || !slices.ContainsFunc(rec.Changes, func(c versioning.Change) bool {
		return r.view.Entities[versioning.Entity{Machine: c.Machine, Key: c.Key}] == nil
	})
}
