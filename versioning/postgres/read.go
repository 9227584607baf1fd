package postgres

import (
	"github.com/pawl-go/pawl/versioning"

	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

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

// parkedInTurn is a parked record and its place in the order of parking.
type parkedInTurn struct {
	versioning.Parked

	seq int64
}

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

// readRows queues what reads the rows of entities.
func (r *reader) readRows(batch *pgx.Batch, unseen map[*table]*fresh) {
	if r.how.lock {
		r.lockRows(batch, unseen)
	}
	for _, t := range r.store.tables {
		f := unseen[t]
		if f == nil {
			continue
		}
		machine := t.Machine.Name()
		batch.Queue(t.readSQL(r.store.schema), f.keys, machine, f.messages).Query(func(rows pgx.Rows) error {
			return r.scanRows(rows, t, f)
		})
		if r.how.parked {
			batch.Queue(r.store.schema.sql(readParkedSQL), machine, f.keys).Query(r.scanParked)
		}
	}
}

// lockRows queues statements of their own because PostgreSQL locks no row of the
// nullable side of an outer join, which reading needs.
func (r *reader) lockRows(batch *pgx.Batch, unseen map[*table]*fresh) {
	for _, t := range r.store.tables {
		if f := unseen[t]; f != nil {
			batch.Queue(t.lockSQL(), f.keys)
		}
	}
}

// A text is a column of text as it arrived. It is valid until the next row.
type text []byte

// ScanBytes implements [pgtype.BytesScanner].
func (t *text) ScanBytes(b []byte) error { *t = b; return nil }

// errDisorder says that rows of one entity did not come one after the other.
var errDisorder = errors.New("rows came in disorder")

// scanRows notes the rows, and the messages of their first steps: a row comes once
// for each of them.
func (r *reader) scanRows(rows pgx.Rows, t *table, f *fresh) error {
	var n int32
	var version int64
	var state, id text
	var step pgtype.Int8
	var digest versioning.Digest
	var gone bool
	var ids []versioning.Message // of all entities, one after the other
	var letters strings.Builder  // of all IDs: an allocation for many of them
	last, first := int32(0), 0
	for _, k := range f.entities {
		r.past(k).hasFirst = f.messages
	}
	_, err := pgx.ForEachRow(rows, []any{&n, &state, &version, &gone, &id, &step, (*int64)(&digest)}, func() error {
		k := f.entities[n-1]
		switch {
		case n < last:
			return errDisorder
		case n > last:
			last, first = n, len(ids)
			k.Exists, k.Row = !gone, versioning.Row{State: t.stateOf(state), Version: version, Gone: gone}
		}
		if !step.Valid {
			return nil
		}
		at := letters.Len()
		letters.Write(id)
		ids = append(ids, versioning.Message{ID: letters.String()[at:], Digest: digest})
		k.Messages = versioning.MessagesOf(ids[first:len(ids):len(ids)])
		if step.Int64 > firstSteps {
			r.past(k).goesOn, r.askHistory = true, true
		} else if len(ids)-first > firstSteps { // there were versions below 1
			*r.past(k), r.askHistory = past{goesOn: true}, true
		}
		return nil
	})
	return err
}

// stateOf returns a state by its name.
func (t *table) stateOf(name []byte) statemachine.State {
	if state, ok := t.states[string(name)]; ok { // which allocates nothing
		return state
	}
	return statemachine.State(name)
}

// Questions are what the history of one machine is to be asked.
type questions struct {
	first          texts // entities: which messages made their first steps
	keys, messages texts // entities, and messages: which of these made a later step
	moved          texts // entities, and versions: what made the steps to these
	versions       bigints
}

// readPast asks the history about the messages and expected versions of the
// records that what was read with the rows does not decide about.
func (r *reader) readPast(ctx context.Context, records []*versioning.Record) error {
	if !r.askHistory && len(r.view.Parked) == 0 {
		return nil
	}
	asked := make(map[string]*questions)
	for _, t := range r.store.tables {
		asked[t.Machine.Name()] = &questions{}
	}
	known := r.known // in the order of the changes, so that nothing is looked up for each
	for _, rec := range records {
		for i := range changesOf(rec) {
			r.askPast(asked, known[0], &rec.Changes[i])
			known = known[1:]
		}
	}
	for _, p := range r.view.Parked {
		for i := range changesOf(p.Record) {
			r.askPast(asked, r.view.Entities[p.Record.Entity(i)], &p.Record.Changes[i])
		}
	}
	batch := &pgx.Batch{}
	for _, t := range r.store.tables {
		r.queuePast(batch, t.Machine.Name(), asked[t.Machine.Name()])
	}
	return r.send(ctx, batch)
}

// askPast notes what the history has to be asked about a change of an entity.
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
		*had = past{hasFirst: true, goesOn: true}
		p.first = append(p.first, c.Key)
	}
	if had.goesOn {
		for _, id := range c.MessageIDs() {
			p.keys, p.messages = append(p.keys, c.Key), append(p.messages, id)
		}
	}
}

// queuePast queues the questions about one machine.
func (r *reader) queuePast(batch *pgx.Batch, machine string, p *questions) {
	messages := func(rows pgx.Rows) error { return r.scanMessages(rows, machine) }
	if len(p.first) > 0 {
		batch.Queue(r.store.schema.sql(readFirstSQL), machine, p.first).Query(messages)
	}
	if len(p.keys) > 0 {
		batch.Queue(r.store.schema.sql(readBeyondSQL), machine, p.keys, p.messages).Query(messages)
	}
	if len(p.moved) > 0 {
		batch.Queue(r.store.schema.sql(readStepsSQL), machine, p.moved, p.versions).Query(func(rows pgx.Rows) error {
			return r.scanSteps(rows, machine)
		})
	}
}

func (r *reader) scanMessages(rows pgx.Rows, machine string) error {
	var key, id string
	var digest versioning.Digest
	_, err := pgx.ForEachRow(rows, []any{&key, &id, (*int64)(&digest)}, func() error {
		r.view.Entities[versioning.Entity{Machine: machine, Key: key}].Messages.Add(id, digest)
		return nil
	})
	return err
}

func (r *reader) scanSteps(rows pgx.Rows, machine string) error {
	var key string
	var version int64
	var step versioning.PastStep
	into := append([]any{&key, &version, &step.Event, &step.MessageID}, senderOf(&step)...)
	_, err := pgx.ForEachRow(rows, into, func() error {
		k := r.view.Entities[versioning.Entity{Machine: machine, Key: key}]
		if k.Steps == nil {
			k.Steps = make(map[int64]versioning.PastStep)
		}
		k.Steps[version] = step
		return nil
	})
	return err
}

// senderOf returns where to scan what made the step to.
func senderOf(s *versioning.PastStep) []any {
	return []any{&s.Origin.Topic, &s.Origin.TopicID, &s.Origin.Partition, &s.Origin.Offset, (*int64)(&s.Digest)}
}

// readSenders asks the history who sent the messages of the records that it knows by
// their IDs and not by their digests: as a rule, nobody.
func (r *reader) readSenders(ctx context.Context, records []*versioning.Record) error {
	asked := make(map[string]*questions)
	known := r.known
	for _, rec := range records {
		for i := range changesOf(rec) {
			if k := known[0]; k != nil && !k.Messages.IsEmpty() {
				r.askSenders(asked, k, rec, i)
			}
			known = known[1:]
		}
	}
	for _, p := range r.view.Parked {
		for i := range changesOf(p.Record) {
			r.askSenders(asked, r.view.Entities[p.Record.Entity(i)], p.Record, i)
		}
	}
	batch := &pgx.Batch{}
	for _, t := range r.store.tables {
		machine := t.Machine.Name()
		if p := asked[machine]; p != nil {
			batch.Queue(r.store.schema.sql(readSendersSQL), machine, p.keys, p.messages).Query(func(rows pgx.Rows) error {
				return r.scanSenders(rows, machine)
			})
		}
	}
	return r.send(ctx, batch)
}

// askSenders notes whether the history has to be asked about a change's message.
func (r *reader) askSenders(asked map[string]*questions, k *versioning.Known, rec *versioning.Record, change int) {
	c := &rec.Changes[change]
	if k == nil || !r.byMessage(c) {
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

func (r *reader) scanSenders(rows pgx.Rows, machine string) error {
	var key string
	var step versioning.PastStep
	into := append([]any{&key, &step.MessageID, &step.Event}, senderOf(&step)...)
	_, err := pgx.ForEachRow(rows, into, func() error {
		k := r.view.Entities[versioning.Entity{Machine: machine, Key: key}]
		k.ByMessage[step.MessageID] = append(k.ByMessage[step.MessageID], step)
		return nil
	})
	return err
}

// stretches are columns of stretches of a log, from one offset to another, whose
// records have one scope.
type stretches struct {
	ids           []pgtype.UUID
	partitions    integers
	scopes        texts
	firsts, lasts bigints
	of            integers // for each record, the number of its stretch, from 1 on
}

// maxGap is over how many offsets that no record of the batch is at a stretch goes
// on: for each record of the batch, so many dead letters of others may be read.
const maxGap = 256

// stretches returns those that the records come from: few, in place of many
// offsets.
func (s *edition) stretches(records []*versioning.Record) *stretches {
	type logOf struct {
		topicID   [16]byte
		partition int32
		scope     string
	}
	st := &stretches{of: make(integers, 0, len(records))}
	open := make(map[logOf]int)
	var last logOf // which i is of
	i, ok := 0, false
	var machine, scope string // of the record before
	for _, r := range records {
		switch {
		case preparedOf(r).kept != nil || len(r.Changes) == 0:
			machine, scope = "", s.scope(r)
		case machine != r.Changes[0].Machine || machine == "":
			machine, scope = r.Changes[0].Machine, s.scope(r)
		}
		at := &r.Origin
		name := logOf{at.TopicID, at.Partition, scope}
		if r.Redrive {
			name.scope = *preparedOf(r).kept
		}
		if !ok || name != last {
			last = name
			i, ok = open[name]
		}
		if ok && st.firsts[i] <= at.Offset && at.Offset <= st.lasts[i]+maxGap {
			st.lasts[i] = max(st.lasts[i], at.Offset)
			st.of = append(st.of, int32(i)+1)
			continue
		}
		i, ok = len(st.ids), true
		st.of = append(st.of, int32(i)+1)
		open[name] = i
		st.ids = append(st.ids, pgtype.UUID{Bytes: at.TopicID, Valid: true})
		st.partitions = append(st.partitions, at.Partition)
		st.scopes = append(st.scopes, name.scope)
		st.firsts, st.lasts = append(st.firsts, at.Offset), append(st.lasts, at.Offset)
	}
	return st
}

// readDead queues what reads which of the records are dead letters already.
func (r *reader) readDead(batch *pgx.Batch, records []*versioning.Record) {
	st := r.store.stretches(records)
	args := []any{st.ids, st.partitions, st.scopes, st.firsts, st.lasts, r.store.machines()}
	batch.Queue(r.store.schema.sql(readDeadSQL), args...).Query(func(rows pgx.Rows) error {
		return r.scanDead(rows, records)
	})
}

func (r *reader) scanDead(rows pgx.Rows, records []*versioning.Record) error {
	type place struct {
		topicID   [16]byte
		partition int32
		offset    int64
	}
	type letter struct {
		scope   string
		outcome versioning.Outcome
	}
	var at place
	var scope, verdict, reason, detail, machine, entity, event string
	dead := make(map[place][]letter) // more than one is of several machines, or of several versions of Pawl
	into := []any{&at.topicID, &at.partition, &at.offset, &scope, &verdict, &reason, &detail, &machine, &entity, &event}
	_, err := pgx.ForEachRow(rows, into, func() error {
		dead[at] = append(dead[at], letter{scope, versioning.Outcome{
			Verdict: versioning.ParseVerdict(verdict), Reason: versioning.Reason(reason), Detail: detail,
			Entity: versioning.Entity{Machine: machine, Key: entity}, Event: statemachine.Event(event),
		}})
		return nil
	})
	if err != nil || len(dead) == 0 {
		return err
	}
	r.view.letters = make(map[versioning.Origin]string)
	for _, rec := range records {
		for _, l := range dead[place{rec.Origin.TopicID, rec.Origin.Partition, rec.Origin.Offset}] {
			if _, known := r.view.letters[rec.Origin]; r.store.isLetter(rec, l.scope) && (!known || l.scope == r.store.scope(rec)) {
				r.view.Dead[rec.Origin], r.view.letters[rec.Origin] = l.outcome, l.scope
			}
		}
	}
	return nil
}
