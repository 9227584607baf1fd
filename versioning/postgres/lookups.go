package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
)

// lookups are the questions by machine.
type lookups map[string]*questions

func (l lookups) of(machine string) *questions {
	if l[machine] == nil {
		l[machine] = &questions{}
	}
	return l[machine]
}

// questions are the lookups in the history of one machine.
type questions struct {
	first          texts // entities: look up the messages of their first steps
	keys, messages texts // entities and messages: look up whether the message made a later step
	moved          texts // entities and versions: look up the step to that version
	versions       bigints
	timed, events  texts // entities whose timers for these events fire: look up whether they have left the state or replaced the timer
	armed          bigints
}

// lookUp calls ask for each change of the records and of the records parked for their
// entities, and then reads from the history what it has asked for.
func (r *reader) lookUp(ctx context.Context, records []*versioning.Record,
	ask func(asked lookups, k *versioning.Known, rec *versioning.Record, change int),
	queue func(batch *pgx.Batch, machine string, p *questions),
) error {
	asked := make(lookups)
	known := r.known // in the order of the changes, which saves map lookups
	for _, rec := range records {
		for i := range changesOf(rec) {
			ask(asked, known[0], rec, i)
			known = known[1:]
		}
	}
	for _, p := range r.view.Parked {
		for i := range changesOf(p.Record) {
			ask(asked, r.view.Entities[p.Record.Entity(i)], p.Record, i)
		}
	}
	batch := &pgx.Batch{}
	for _, t := range r.store.tables {
		if p := asked[t.Machine.Name()]; p != nil {
			queue(batch, t.Machine.Name(), p)
		}
	}
	return r.send(ctx, batch)
}

// readPast looks up the messages and the expected versions of records in the history, if
// the rows and what was read with them do not decide.
func (r *reader) readPast(ctx context.Context, records []*versioning.Record) error {
	if !r.askHistory && !r.askTimers && len(r.view.Parked) == 0 {
		return nil
	}
	return r.lookUp(ctx, records, r.askPast, r.queuePast)
}

// askPast adds the lookups that a change of an entity needs.
func (r *reader) askPast(asked lookups, k *versioning.Known, rec *versioning.Record, change int) {
	c := &rec.Changes[change]
	if k == nil || !k.Exists && !k.Row.Gone {
		return
	}
	p := asked.of(c.Machine)
	if expected, versioned := c.Expected.Version(); versioned && expected < k.Row.Version {
		p.moved, p.versions = append(p.moved, c.Key), append(p.versions, expected+1)
	}
	if c.Armed > 0 && c.Armed < k.Row.Version && !k.Row.Gone {
		p.timed, p.events, p.armed = append(p.timed, c.Key), append(p.events, string(c.Event)), append(p.armed, c.Armed)
	}
	if !r.byMessage(c) {
		return
	}
	had := r.past(k)
	if !had.hasFirst || had.mayHave(c) {
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
	return r.lookUp(ctx, records, r.askSenders, r.queueSenders)
}

// askSenders adds the lookup of a change's message, if it needs one.
func (r *reader) askSenders(asked lookups, k *versioning.Known, rec *versioning.Record, change int) {
	c := &rec.Changes[change]
	if k == nil || k.Messages.IsEmpty() || !r.byMessage(c) {
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
		p := asked.of(c.Machine)
		p.keys, p.messages = append(p.keys, c.Key), append(p.messages, id)
	}
}
