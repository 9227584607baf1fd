package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
)

// questions are the lookups in the history of one machine.
type questions struct {
	first          texts // entities: look up the messages of their first steps
	keys, messages texts // entities and messages: look up whether the message made a later step
	moved          texts // entities and versions: look up the step to that version
	versions       bigints
}

// readPast looks up the messages and the expected versions of records in the history, if
// the rows and what was read with them do not decide.
func (r *reader) readPast(ctx context.Context, records []*versioning.Record) error {
	if !r.askHistory && len(r.view.Parked) == 0 {
		return nil
	}
	asked := make(map[string]*questions)
	for _, t := range r.store.tables {
		asked[t.Machine.Name()] = &questions{}
	}
	r.eachChange(records, func(k *versioning.Known, rec *versioning.Record, i int) { r.askPast(asked, k, &rec.Changes[i]) })
	batch := &pgx.Batch{}
	for _, t := range r.store.tables {
		r.queuePast(batch, t.Machine.Name(), asked[t.Machine.Name()])
	}
	return r.send(ctx, batch)
}

// eachChange calls ask for each change of the records, and then of the parked records,
// with what is known about its entity.
func (r *reader) eachChange(records []*versioning.Record, ask func(k *versioning.Known, rec *versioning.Record, change int)) {
	known := r.known // in the order of the changes, which saves map lookups
	for _, rec := range records {
		for i := range changesOf(rec) {
			ask(known[0], rec, i)
			known = known[1:]
		}
	}
	for _, p := range r.view.Parked {
		for i := range changesOf(p.Record) {
			ask(r.view.Entities[p.Record.Entity(i)], p.Record, i)
		}
	}
}

// askPast adds the lookups that a change of an entity needs.
func (r *reader) askPast(asked map[string]*questions, k *versioning.Known, c *versioning.Change) {
	if k == nil || !k.Exists && !k.Row.Gone {
		return
	}
	p := asked[c.Machine]
	if expected, versioned := c.Expected.Version(); versioned && expected < k.Row.Version {
		p.moved, p.versions = append(p.moved, c.Key), append(p.versions, expected+1)
	}
	if !r.byMessage(c) {
		return
	}
	had := r.past(k)
	if !had.hasFirst {
		*had = past{hasFirst: true, hasMore: true}
		p.first = append(p.first, c.Key)
	}
	if had.hasMore {
		for _, id := range c.MessageIDs() {
			p.keys, p.messages = append(p.keys, c.Key), append(p.messages, id)
		}
	}
}

// readSenders looks up the senders of those messages of the records whose IDs are in the
// history with different digests. There are usually none.
func (r *reader) readSenders(ctx context.Context, records []*versioning.Record) error {
	asked := make(map[string]*questions)
	r.eachChange(records, func(k *versioning.Known, rec *versioning.Record, i int) {
		if k != nil && !k.Messages.IsEmpty() {
			r.askSenders(asked, k, rec, i)
		}
	})
	batch := &pgx.Batch{}
	for _, t := range r.store.tables {
		machine := t.Machine.Name()
		if p := asked[machine]; p != nil {
			r.queueSenders(batch, machine, p)
		}
	}
	return r.send(ctx, batch)
}

// askSenders adds the lookup of a change's message, if it needs one.
func (r *reader) askSenders(asked map[string]*questions, k *versioning.Known, rec *versioning.Record, change int) {
	c := &rec.Changes[change]
	if !r.byMessage(c) {
		return
	}
	for _, id := range c.MessageIDs() {
		if k.Messages.Asked(id, rec.Digest(change)) || !k.Messages.Has(id) {
			continue
		}
		if _, already := k.ByMessage[id]; already {
			continue
		}
		if k.ByMessage == nil {
			k.ByMessage = make(map[string][]versioning.PastStep)
		}
		k.ByMessage[id] = nil
		if asked[c.Machine] == nil {
			asked[c.Machine] = &questions{}
		}
		p := asked[c.Machine]
		p.keys, p.messages = append(p.keys, c.Key), append(p.messages, id)
	}
}
