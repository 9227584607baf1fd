package versioning

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// writes returns the statements that write all that a plan decided, for one round
// trip. They fail with errMoved if a guarded one takes fewer rows than it has to, or
// if the fate of a record was decided since the plan was made.
func (s *Store) writes(plan *Plan, attempt int) *pgx.Batch {
	w := &writer{store: s, batch: &pgx.Batch{}}
	if attempt == 0 { // the others hold them already
		fatesOf(plan).queue(w.batch)
	}
	w.undecided(plan, attempt)
	moves := inOrder(plan.Moves)
	for _, t := range s.tables {
		w.rows(t, moves)
	}
	w.history(moves)
	w.park(plan.Park)
	w.notDecided(plan, attempt)
	w.repark(plan.Repark)
	w.remove(deleteParkedSQL, plan.Release)
	w.bury(plan.Dead)
	w.remove(deleteDeadSQL, plan.Revive)
	if len(plan.Moves) == 0 {
		w.batch.Queue(waitForStandbySQL)
	}
	return w.batch
}

// A writer queues the statements of one plan. Their number does not depend on
// the number of records.
type writer struct {
	store *Store
	batch *pgx.Batch
}

// guarded queues a statement that has to take exactly the given number of rows. If
// it does not, it fails, and those behind it are not run: neither is a COMMIT.
func (w *writer) guarded(rows int, sql string, args []any) {
	w.batch.Queue(guardedSQL(sql, len(args)+1), append(args, rows)...)
}

// errMoved says that a guarded write found fewer rows than it had to.
var errMoved = errors.New("a row was moved by someone else")

// written translates the error of a write.
func written(err error) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case err == nil:
		return nil
	case ok && pgErr.SchemaName == "pawl" && pgErr.ConstraintName == "guarded_rows":
		return errMoved
	}
	return fmt.Errorf("write: %w", err)
}

// rows queues the update and the inserts of one table. All transactions take the
// rows in one order, that of their tables and keys, so that two that want the same
// ones wait for each other, and not in a circle (which only new rows of different
// shapes can still make: PostgreSQL breaks it, and the batch is applied again).
func (w *writer) rows(t *table, moves []*Move) {
	machine := t.Machine.Name()
	updates := make([]rowWrite, 0, len(moves))
	inserts := make(map[string][]rowWrite) // by shape
	for _, m := range moves {
		switch {
		case m.Entity.Machine != machine:
		case m.Create:
			r := newRowWrite(m)
			shape := r.shape(t)
			inserts[shape] = append(inserts[shape], r)
		default:
			updates = append(updates, newRowWrite(m))
		}
	}
	if len(updates) > 0 {
		w.update(t, updates)
	}
	for _, shape := range slices.Sorted(maps.Keys(inserts)) {
		w.insert(t, inserts[shape])
	}
}

// A rowWrite is a move and the columns that its steps set.
type rowWrite struct {
	move *Move
	set  []column // by column; where several steps set one, the last wins
}

func newRowWrite(m *Move) rowWrite {
	r := rowWrite{move: m}
	if len(m.Steps) == 1 {
		r.set = m.Steps[0].set()
		return r
	}
	for i := range m.Steps {
		for _, c := range m.Steps[i].set() {
			if j := slices.IndexFunc(r.set, func(have column) bool { return have.at == c.at }); j >= 0 {
				r.set[j] = c
			} else {
				r.set = append(r.set, c)
			}
		}
	}
	slices.SortFunc(r.set, byColumn)
	return r
}

// inOrder returns the moves in the order of their keys. That of the history's
// primary key is the same: its pages are visited one after the other.
func inOrder(moves []Move) []*Move {
	sorted := make([]*Move, len(moves))
	for i := range moves {
		sorted[i] = &moves[i]
	}
	slices.SortFunc(sorted, func(a, b *Move) int { return strings.Compare(a.Entity.Key, b.Entity.Key) })
	return sorted
}

// shape tells which columns with a default a new row sets. Rows that set the
// same ones go into one INSERT: SQL has no way to say DEFAULT for some rows of
// a set. A column without a default is NULL where a row does not set it.
func (r rowWrite) shape(t *table) string {
	var shape []byte
	for _, c := range r.set {
		if t.columns[c.at].hasDefault || t.columns[c.at].identity != "" {
			shape = append(shape, byte(c.at>>8), byte(c.at))
		}
	}
	return string(shape)
}

func (w *writer) update(t *table, rows []rowWrite) {
	n := len(rows)
	keys, from, fromVersion := make(texts, n), make(texts, n), make(bigints, n)
	to, toVersion := make(texts, n), make(bigints, n)
	for i, r := range rows {
		state, version := r.move.To()
		keys[i], from[i], fromVersion[i] = r.move.Entity.Key, string(r.move.From.State), r.move.From.Version
		to[i], toVersion[i] = string(state), version
	}
	columns := columnsOf(rows)
	args := []any{keys, from, fromVersion, to, toVersion}
	for _, at := range columns {
		values, set := valuesOf(rows, at)
		args = append(args, values, set)
	}
	w.guarded(n, t.updateSQL(columns), args)
}

func (w *writer) insert(t *table, rows []rowWrite) {
	n := len(rows)
	keys, states, versions := make(texts, n), make(texts, n), make(bigints, n)
	for i, r := range rows {
		state, version := r.move.To()
		keys[i], states[i], versions[i] = r.move.Entity.Key, string(state), version
	}
	columns := columnsOf(rows)
	args := []any{keys, states, versions}
	for _, at := range columns {
		values, _ := valuesOf(rows, at)
		args = append(args, values)
	}
	w.guarded(n, t.insertSQL(columns), args)
}

// columnsOf returns the columns that any of the rows sets, in order.
func columnsOf(rows []rowWrite) (columns []int) {
	seen := make(map[int]bool)
	for _, r := range rows {
		for _, c := range r.set {
			if !seen[c.at] {
				seen[c.at] = true
				columns = append(columns, c.at)
			}
		}
	}
	slices.Sort(columns)
	return columns
}

// valuesOf returns one column's values, and which of the rows set it.
func valuesOf(rows []rowWrite, at int) (nullTexts, []bool) {
	values, set := make(nullTexts, len(rows)), make([]bool, len(rows))
	for i, r := range rows {
		if j, ok := slices.BinarySearchFunc(r.set, at, func(c column, at int) int { return c.at - at }); ok {
			values[i] = pgtype.Text{String: r.set[j].text, Valid: !r.set[j].null}
			set[i] = true
		}
	}
	return values, set
}

// steps are columns of the history, of steps that share the others.
type steps struct {
	entities, events, from, to, messages texts
	versions, offsets                    bigints
	partitions                           integers
}

// history queues the steps of all moves, those of one machine that the records of
// one topic made in one statement: what they share is sent and read once.
func (w *writer) history(moves []*Move) {
	type shared struct {
		machine, topic string
		topicID        [16]byte
	}
	all := make(map[shared]*steps)
	var order []shared
	var name shared // of s, the steps that the last one was among: as a rule, so is the next
	var s *steps
	for _, m := range moves {
		for j := range m.Steps {
			step := &m.Steps[j]
			origin := &step.Record.Origin
			if now := (shared{m.Entity.Machine, origin.Topic, origin.TopicID}); s == nil || now != name {
				name = now
				if s = all[name]; s == nil {
					s = &steps{}
					if len(all) == 0 { // as a rule, all are like the first one
						s = newSteps(moves)
					}
					all[name], order = s, append(order, name)
				}
			}
			s.entities = append(s.entities, m.Entity.Key)
			s.versions = append(s.versions, step.Version)
			s.events = append(s.events, string(step.Event))
			s.from = append(s.from, string(step.From))
			s.to = append(s.to, string(step.To))
			s.messages = append(s.messages, step.Record.Changes[step.Change].MessageID)
			s.partitions = append(s.partitions, origin.Partition)
			s.offsets = append(s.offsets, origin.Offset)
		}
	}
	for _, name := range order {
		s := all[name]
		definition := int32(w.store.rules[name.machine].Machine.Version())
		w.batch.Queue(insertHistorySQL, name.machine, definition, name.topic, pgtype.UUID{Bytes: name.topicID, Valid: true},
			s.partitions, s.offsets, s.entities, s.versions, s.events, s.from, s.to, s.messages)
	}
}

// newSteps makes room for the steps of moves.
func newSteps(moves []*Move) *steps {
	n := 0
	for _, m := range moves {
		n += len(m.Steps)
	}
	return &steps{
		entities: make(texts, 0, n), events: make(texts, 0, n), from: make(texts, 0, n), to: make(texts, 0, n),
		messages: make(texts, 0, n), versions: make(bigints, 0, n), offsets: make(bigints, 0, n), partitions: make(integers, 0, n),
	}
}
