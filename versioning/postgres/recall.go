package postgres

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
)

// transactBlindly runs a transaction that reads nothing, if what the store remembers suffices. It
// returns neither a plan nor an error if the batch has to be read; nothing is written then.
func (s *settlement) transactBlindly(ctx context.Context) (*versioning.Plan, error) {
	r, server := s.recollect()
	if r == nil {
		return nil, nil
	}
	plan := s.judge(r.view)
	if !r.holds(plan, s.records) {
		return nil, nil
	}
	script := s.compose(plan)
	if script.rows.serial {
		return nil, nil
	}
	s.reader = r
	script.locks, script.blind, script.server = fatesOf(plan), &blind{r, s.records}, server
	script.memos = r.memos(script.moves)
	s.locks.add(script.locks)
	err := s.orAltered(ctx, s.inTransaction(ctx, func(tx *transaction) error { return tx.finish(ctx, script.statements()) }))
	switch {
	case err == nil:
		s.note(script)
		return plan, nil
	case errors.Is(err, errMoved) && !errors.Is(err, errAltered),
		(isRefusal(err) || isCode(err, uniqueViolation)) && r.assumes(): // perhaps an entity exists that was taken for new
		s.contended.Add(1)
		s.memory.mistrust(r)
		return nil, nil
	}
	return nil, err
}

// recollect returns a reader with what the memory has of the records' entities, and on which
// server they were written, or nil if that is not all that the fold needs.
func (s *settlement) recollect() (*reader, versioning.Server) {
	server := s.memory.serverFor(s.on)
	if server == "" {
		return nil, ""
	}
	r := s.newReader(nil, s.records, false)
	for _, rec := range s.records {
		if p := preparedOf(rec); rec.Err != nil || rec.Redrive || p.dead != nil || p.kept != nil {
			return nil, ""
		}
		for i := range rec.Changes {
			if !r.recall(rec.Entity(i), &rec.Changes[i], server) {
				return nil, ""
			}
		}
	}
	if len(r.view.Entities) == 0 {
		return nil, ""
	}
	return r, server
}

// recall adds the entity of a change to the view, and reports whether the memory has all of it
// that the change needs. It is no use if the change is certainly not made.
func (r *reader) recall(e versioning.Entity, c *versioning.Change, on versioning.Server) bool {
	t := r.store.byMachine[e.Machine]
	if t == nil || !t.isRecallable() {
		return false
	}
	k, isNew := r.view.Add(e)
	if isNew {
		known := r.remembered(t, c, on)
		if known == nil || known.unsure {
			return false
		}
		r.pasts = append(r.pasts, past{memo: known, next: known.state})
		if known.version > 0 {
			k.Exists, k.Row = true, versioning.Row{State: known.state, Version: known.version}
		}
	}
	had := r.past(k)
	to, legal := t.Machine.Fire(had.next, c.Event)
	had.next = to
	return legal && r.isNews(had.memo, c)
}

// remembered returns what is remembered of the entity of a change, or assumed if it creates it.
func (r *reader) remembered(t *table, c *versioning.Change, on versioning.Server) *memo {
	i := slices.IndexFunc(r.relies, func(r reliance) bool { return r.table == t })
	if i < 0 {
		own, ok := r.store.memory.ask(t)
		if !ok {
			return nil
		}
		i, r.relies = len(r.relies), append(r.relies, own)
	}
	known := r.store.memory.of(t, c.Key, on)
	if known == nil && t.creates[c.Event] && !r.store.hasTriggers() && r.store.memory.askAbsent(&r.relies[i]) {
		known = absent
	}
	return known
}

// assumes reports whether entities were assumed not to exist.
func (r *reader) assumes() bool {
	return slices.ContainsFunc(r.relies, func(r reliance) bool { return r.absent })
}

// isNews reports whether a change is certainly not made yet, if an entity's memo is true, and
// needs nothing else of the entity.
func (r *reader) isNews(known *memo, c *versioning.Change) bool {
	return c.Armed == 0 && r.byMessage(c) && !slices.ContainsFunc(c.MessageIDs(), func(id string) bool {
		return known.mayHave(hashOf(id))
	})
}

// holds reports whether guards can prove all that was recalled for a plan: every entity moves,
// and all records are made or repeat others of the batch.
func (r *reader) holds(plan *versioning.Plan, records []*versioning.Record) bool {
	return len(plan.Outcomes) == len(records) && len(plan.Moves) == len(r.view.Entities) &&
		!slices.ContainsFunc(plan.Outcomes, func(o versioning.Outcome) bool { return o.Verdict > versioning.Applied })
}

// blind is what a script relies on whose entities were recalled.
type blind struct {
	*reader

	records []*versioning.Record
}

// sameServer queues the guard that the server is the one on which the recalled rows were written.
func (w *writer) sameServer(server versioning.Server) {
	w.guarded(1, "SELECT WHERE "+w.store.schema.serverSQL+" = $1", []any{string(server)})
}

// nonePast queues the guard that the entities that were assumed not to exist have no history. That
// they have no row is proven by the table's key when they are inserted; with triggers, no entity is
// assumed not to exist.
func (w *writer) nonePast(b *blind, moves []*versioning.Move) {
	var machines, keys texts
	for _, m := range moves {
		if b.past(m.Known()).memo == absent {
			machines, keys = append(machines, m.Entity.Machine), append(keys, m.Entity.Key)
		}
	}
	if len(keys) > 0 {
		w.guarded(0, w.store.schema.sql(pastSQL), []any{machines, keys})
	}
}

// pastSQL returns a row for each of the entities $2 of machines $1 that has a history.
const pastSQL pawlSQL = `
SELECT FROM (SELECT pg_catalog.unnest($1::text[]) AS machine, pg_catalog.unnest($2::text[]) AS entity OFFSET 0) AS u
WHERE (SELECT true FROM pawl.transitions AS h WHERE h.entity = u.entity AND h.machine = u.machine LIMIT 1)`

// noneParked queues the guard that nothing is parked for the entities of moves. It is one
// statement for the reason given at readParked.
func (w *writer) noneParked(moves []*versioning.Move) {
	machines, keys := make(texts, len(moves)), make(texts, len(moves))
	for i, m := range moves {
		machines[i], keys[i] = m.Entity.Machine, m.Entity.Key
	}
	w.guarded(0, w.store.schema.sql(parkedForSQL), []any{machines, keys})
}

// parkedForSQL returns a row for each of the entities $2 of machines $1 for which records are
// parked. It looks up each entity: to ask first whether there are any parked records at all could
// mean to pass those that were removed, as long as somebody has a snapshot that sees them.
const parkedForSQL pawlSQL = `
SELECT FROM (SELECT pg_catalog.unnest($1::text[]) AS machine, pg_catalog.unnest($2::text[]) AS entity OFFSET 0) AS u
WHERE (SELECT true FROM pawl.parked AS p WHERE p.machine = u.machine AND p.entity = u.entity LIMIT 1)`

// noteWriter queues the query of the transaction's number, which its rows have.
func (c *script) noteWriter(batch *pgx.Batch) {
	if slices.ContainsFunc(c.memos, func(m *memo) bool { return m != nil }) {
		batch.Queue(writerSQL).QueryRow(func(row pgx.Row) error { return row.Scan(&c.writer) })
	}
}

// writerSQL returns what the rows of the transaction have in xmin.
const writerSQL = `SELECT (pg_catalog.txid_current() % 4294967296)::text`
