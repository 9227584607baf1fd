package postgres

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
)

// mustRead reports whether an entity that a change needs has to be read. If it can be recalled
// instead, mustRead does that when the entity is new to the view, and undoes it if a later change
// needs the row after all. What a parked record needs is read.
func (r *reader) mustRead(t *table, k *versioning.Known, c *versioning.Change, isNew, parked bool) bool {
	switch {
	case r.recalls == nil:
		return isNew
	case isNew:
		return parked || !r.recall(t, k, c)
	}
	had := r.past(k)
	if had.memo == nil || !parked && r.isNews(had.memo, c) {
		return false
	}
	r.recalls.entities--
	if had.memo == absent {
		r.recalls.assumed--
	}
	*had, k.Exists, k.Row = past{}, false, versioning.Row{}
	return true
}

// recall takes an entity from the memory, and reports whether that has what the first change of
// the entity needs.
func (r *reader) recall(t *table, k *versioning.Known, c *versioning.Change) bool {
	if !t.isRecallable() {
		return false
	}
	known := r.store.memory.of(t, c.Key)
	if known == nil {
		if !r.recalls.absent || !t.creates[c.Event] {
			return false
		}
		known = absent
	}
	if known.unsure || !r.isNews(known, c) {
		return false
	}
	r.recalls.entities++
	if known == absent {
		r.recalls.assumed++
	} else {
		k.Exists, k.Row = true, versioning.Row{State: known.state, Version: known.version}
	}
	*r.past(k) = past{hasFirst: true, memo: known}
	return true
}

// isNews reports whether a change is certainly not made yet, if an entity's memo is true, and
// needs nothing else of the entity.
func (r *reader) isNews(known *memo, c *versioning.Change) bool {
	return c.Armed == 0 && r.byMessage(c) && !slices.ContainsFunc(c.MessageIDs(), func(id string) bool {
		return known.mayHave(r.store.memory.hash(id))
	})
}

// isBlind reports whether nothing at all has to be read for records, given that no row has.
func (r *reader) isBlind(records []*versioning.Record) bool {
	return r.recalls != nil && r.recalls.entities > 0 &&
		!slices.ContainsFunc(records, func(rec *versioning.Record) bool { return rec.Err != nil })
}

// holds reports whether guards can prove all that was recalled for a plan: every recalled entity
// moves, and all records that concern it are made. It forgets the other entities.
func (r *reader) holds(plan *versioning.Plan, records []*versioning.Record) bool {
	if r.recalls == nil || r.recalls.entities == 0 {
		return true
	}
	moved := make([]bool, len(r.pasts))
	for i := range plan.Moves {
		moved[plan.Moves[i].Known().Number()-1] = true
	}
	var others []versioning.Entity
	known := r.known // in the order of the changes
	for i, rec := range records[:len(plan.Outcomes)] {
		n := len(changesOf(rec))
		for j, k := range known[:n] {
			if k != nil && r.past(k).memo != nil && (!moved[k.Number()-1] || plan.Outcomes[i].Verdict > versioning.Applied) {
				others = append(others, rec.Entity(j))
			}
		}
		known = known[n:]
	}
	if len(others) > 0 {
		r.store.forget(slices.Values(others))
	}
	return len(others) == 0
}

// prove adds to a script what proves that what was recalled is true. It returns false if the
// transaction is on another server than the rows that are remembered.
func (s *settlement) prove(ctx context.Context, tx *transaction, c *script) (ok bool, err error) {
	if s.recalls == nil || s.recalls.entities == 0 {
		return true, nil
	}
	c.recalled = s.reader.recalled(c)
	if !s.reader.blind {
		return tx.server == s.recalls.server, nil
	}
	c.unread = s.records
	if c.hasOutputs() || slices.ContainsFunc(s.tables, (*table).arms) { // they need the time when the transaction has begun
		err := tx.SendBatch(ctx, &pgx.Batch{}).Close()
		return tx.server == s.recalls.server, err
	}
	c.onServer = s.recalls.server
	return true, nil
}

// recalled returns the keys of the recalled entities that the script moves, by table.
func (r *reader) recalled(c *script) map[*table]texts {
	keys := make(map[*table]texts, len(r.store.tables))
	for _, m := range c.moves {
		if r.past(m.Known()).memo != nil {
			t := r.store.byMachine[m.Entity.Machine]
			keys[t] = append(keys[t], m.Entity.Key)
		}
	}
	return keys
}

// wasMisled reports whether an error may only mean that what was recalled is wrong. If so, it
// forgets the entities. (If PostgreSQL refuses a record, the store reads the rows anyway, and
// writes one by one.)
func (s *settlement) wasMisled(err error) bool {
	if s.recalls == nil || s.recalls.entities == 0 || errors.Is(err, errLockFirst) || errors.Is(err, errAltered) ||
		!errors.Is(err, errMoved) && !isCode(err, uniqueViolation) {
		return false
	}
	s.memory.mistrust(s.recalls)
	s.forget(maps.Keys(s.reader.view.Entities))
	return true
}

// onSameServer queues the guard that the transaction is on a server.
func (w *writer) onSameServer(server versioning.Server) {
	if server != "" {
		w.guarded(1, "SELECT WHERE "+w.store.schema.serverSQL+" = $1", []any{string(server)})
	}
}

// noneParked queues the guards that nothing is parked for recalled entities.
func (w *writer) noneParked(recalled map[*table]texts) {
	for _, t := range w.store.tables {
		if keys := recalled[t]; len(keys) > 0 {
			w.guarded(0, w.store.schema.sql(noneParkedSQL), []any{t.Machine.Name(), keys})
		}
	}
}

// noneParkedSQL returns a row for each of the entities $2 for which records are parked. There are
// usually no parked records at all.
const noneParkedSQL pawlSQL = `
SELECT FROM (SELECT pg_catalog.unnest($2::text[]) AS key OFFSET 0) AS u
WHERE EXISTS (SELECT FROM pawl.parked)
  AND (SELECT true FROM pawl.parked AS p WHERE p.machine = $1 AND p.entity = u.key LIMIT 1)`
