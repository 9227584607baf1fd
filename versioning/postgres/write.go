package postgres

import (
	"github.com/pawl-go/pawl/versioning"

	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// writes returns the statements that write all that a plan decided, for one round
// trip. They fail with errMoved if a guarded one takes fewer rows than it has to, or
// if the fate of a record was decided since the plan was made. The rows are those of
// what arrange returned, and the locks those that the transaction does not hold yet.
func (s *edition) writes(plan *plan, moves []*versioning.Move, rows writing, attempt int, locks fateLocks) *pgx.Batch {
	w := &writer{store: s, batch: &pgx.Batch{}, letters: plan.letters}
	locks.queue(w.batch, s.schema)
	w.undecided(plan, attempt)
	if rows.serial { // only of a dry run
		w.batch.Queue(checkNowSQL)
		for _, try := range s.tries(moves) {
			w.one(try)
		}
	} else {
		w.levels(rows)
	}
	w.rest(plan, moves, attempt)
	return w.batch
}

// rest queues all but the rows.
func (w *writer) rest(plan *plan, moves []*versioning.Move, attempt int) {
	w.history(moves)
	w.park(plan.Park)
	w.notDecided(plan, attempt)
	w.repark(plan.Repark)
	w.remove(deleteParkedSQL, plan.Release, w.store.scope)
	w.bury(plan.Dead)
	w.remove(deleteDeadSQL, plan.Revive, w.letterAt)
	w.unaltered(plan, moves)
	if len(plan.Moves) == 0 {
		w.batch.Queue(waitForStandbySQL)
	}
}

// A writer queues the statements of one plan. Their number does not depend on the
// number of records, but on that of the levels: see unit.
type writer struct {
	store     *edition
	batch     *pgx.Batch
	letters   map[versioning.Origin]string // the scopes of the dead letters that the plan judges again
	immediate bool                         // constraints are checked with each statement already
}

// guarded queues a statement that has to take exactly the given number of rows. If
// it does not, it fails, and those behind it are not run: neither is a COMMIT.
func (w *writer) guarded(rows int, sql string, args []any) {
	w.batch.Queue(w.store.schema.guardedSQL(sql, len(args)+1), append(args, rows)...)
}

// errMoved says that a guarded write found fewer rows than it had to.
var errMoved = errors.New("a row was moved by someone else")

// levels queues the writes of the rows. All transactions take the rows in one order,
// that of their tables and keys, so that two that want the same ones wait for each
// other, and not in a circle (which only new rows of different shapes or levels can still
// make: PostgreSQL breaks it, and the batch is applied again).
func (w *writer) levels(rows writing) {
	if rows.levels == 1 && !slices.ContainsFunc(rows.units, func(u unit) bool { return u.inOrder }) {
		level := make([]*unit, len(rows.units))
		for i := range rows.units {
			level[i] = &rows.units[i]
		}
		w.level(level)
		return
	}
	levels := make([][]*unit, rows.levels)
	for i := range rows.units {
		u := &rows.units[i]
		levels[u.level] = append(levels[u.level], u)
	}
	w.lock(rows)
	for _, units := range levels {
		w.level(units)
	}
}

// lock queues locks of the rows, in their order, which is not that of the writes.
func (w *writer) lock(rows writing) {
	for _, t := range w.store.tables {
		var keys texts
		for i := range rows.units {
			if u := &rows.units[i]; u.table == t && u.prev == nil && !u.create() {
				keys = append(keys, u.move.Entity.Key)
			}
		}
		if len(keys) > 0 {
			w.batch.Queue(t.lockSQL(), keys)
		}
	}
}

// level queues the writes of units that can be made together: they are in the order of
// their tables and keys.
func (w *writer) level(units []*unit) {
	for len(units) > 0 {
		t := units[0].table
		n := slices.IndexFunc(units, func(u *unit) bool { return u.table != t })
		if n < 0 {
			n = len(units)
		}
		w.rows(t, units[:n])
		units = units[n:]
	}
}

// rows queues the writes of units of one table.
func (w *writer) rows(t *table, units []*unit) {
	w.deferNothing(t)
	updates := make([]*unit, 0, len(units))
	inserts := make([]*unit, 0, len(units))
	inOrder := false
	for _, u := range units {
		if u.create() {
			inserts = append(inserts, u)
		} else {
			updates = append(updates, u)
			inOrder = inOrder || u.inOrder
		}
	}
	if inOrder {
		slices.SortFunc(updates, byLog)
	}
	for _, units := range t.byShape(updates, t.updateShape) {
		w.update(t, units)
	}
	for _, units := range t.byShape(inserts, t.insertShape) {
		w.insert(t, units)
	}
}

// deferNothing has the constraints of a table checked with each statement. With one
// change a record, that is when the COMMIT of the record alone would check them.
func (w *writer) deferNothing(t *table) {
	if len(t.rules.deferred) > 0 && !w.immediate {
		w.immediate = true
		w.batch.Queue(checkNowSQL)
	}
}

// byShape deals units out to those that can share a statement, in the order of the
// shapes.
func (t *table) byShape(units []*unit, shapeOf func(*unit) string) [][]*unit {
	if len(units) == 0 {
		return nil
	}
	shapes := make(map[string][]*unit)
	for _, u := range units {
		shape := shapeOf(u)
		shapes[shape] = append(shapes[shape], u)
	}
	all := make([][]*unit, 0, len(shapes))
	for _, shape := range slices.Sorted(maps.Keys(shapes)) {
		all = append(all, shapes[shape])
	}
	return all
}

// inOrder returns the moves in the order of their keys. That of the history's
// primary key is the same: its pages are visited one after the other.
func inOrder(moves []versioning.Move) []*versioning.Move {
	sorted := make([]*versioning.Move, len(moves))
	for i := range moves {
		sorted[i] = &moves[i]
	}
	slices.SortFunc(sorted, func(a, b *versioning.Move) int { return strings.Compare(a.Entity.Key, b.Entity.Key) })
	return sorted
}

// updateShape tells updates apart that can't share a statement: a trigger may be for
// updates that set certain columns.
func (t *table) updateShape(u *unit) string {
	if !t.rules.ofColumns {
		return ""
	}
	return shapeOf(u.set, func(column) bool { return true })
}

// insertShape tells inserts apart that can't share a statement, because SQL has no way
// to say DEFAULT for some rows of a set. Where a default is known as an expression,
// that can stand for it. A column without one is NULL where a row does not set it.
func (t *table) insertShape(u *unit) string {
	return shapeOf(u.set, func(c column) bool {
		column := &t.columns[c.at]
		return column.identity != "" || column.hasDefault && column.defaultSQL == ""
	})
}

func shapeOf(set []column, counts func(column) bool) string {
	var shape []byte
	for _, c := range set {
		if counts(c) {
			shape = append(shape, byte(c.at>>8), byte(c.at))
		}
	}
	return string(shape)
}

func (w *writer) update(t *table, units []*unit) {
	n := len(units)
	keys, from, fromVersion := make(texts, n), make(texts, n), make(bigints, n)
	to, toVersion := make(texts, n), make(bigints, n)
	for i, u := range units {
		keys[i] = u.move.Entity.Key
		from[i], fromVersion[i] = u.from()
		to[i], toVersion[i] = u.to()
	}
	columns := columnsOf(units)
	args := []any{keys, from, fromVersion, to, toVersion}
	for _, at := range columns {
		values, set := valuesOf(units, at)
		args = append(args, values, set)
	}
	w.guarded(n, t.updateSQL(columns), args)
	w.verify(t, keys, to, toVersion)
}

func (w *writer) insert(t *table, units []*unit) {
	n := len(units)
	keys, states, versions := make(texts, n), make(texts, n), make(bigints, n)
	for i, u := range units {
		keys[i] = u.move.Entity.Key
		states[i], versions[i] = u.to()
	}
	columns := columnsOf(units)
	args := []any{keys, states, versions}
	someDefault := make([]bool, len(columns)) // some rows have the column's default
	for i, at := range columns {
		values, set := valuesOf(units, at)
		args = append(args, values)
		if t.columns[at].defaultSQL != "" && slices.Contains(set, false) {
			someDefault[i] = true
			args = append(args, set)
		}
	}
	w.guarded(n, t.insertSQL(columns, someDefault), args)
	w.verify(t, keys, states, versions)
}

// verify queues a check that rows are what was written, where triggers could have made
// something else of them.
func (w *writer) verify(t *table, keys, states texts, versions bigints) {
	if len(t.rules.triggers) > 0 {
		w.batch.Queue(t.verifySQL(w.store.schema), keys, states, versions).Query(func(rows pgx.Rows) error {
			rows.Close()
			return t.verified(w.store.schema, rows.Err())
		})
	}
}

// columnsOf returns the columns that any of the units sets, in order.
func columnsOf(units []*unit) (columns []int) {
	seen := make(map[int]bool)
	for _, u := range units {
		for _, c := range u.set {
			if !seen[c.at] {
				seen[c.at] = true
				columns = append(columns, c.at)
			}
		}
	}
	slices.Sort(columns)
	return columns
}

// valuesOf returns one column's values, and which of the units set it.
func valuesOf(units []*unit, at int) (nullTexts, []bool) {
	values, set := make(nullTexts, len(units)), make([]bool, len(units))
	for i, u := range units {
		if j, ok := slices.BinarySearchFunc(u.set, at, func(c column, at int) int { return c.at - at }); ok {
			values[i] = pgtype.Text{String: u.set[j].text, Valid: !u.set[j].null}
			set[i] = true
		}
	}
	return values, set
}

// steps are columns of the history, of steps that share the others.
type steps struct {
	entities, events, from, to, messages texts
	versions, offsets, digests           bigints
	partitions                           integers
}

// history queues the steps of all moves, those of one machine that the records of
// one topic made in one statement: what they share is sent and read once.
func (w *writer) history(moves []*versioning.Move) {
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
			s.digests = append(s.digests, int64(step.Digest()))
			s.partitions = append(s.partitions, origin.Partition)
			s.offsets = append(s.offsets, origin.Offset)
		}
	}
	for _, name := range order {
		s := all[name]
		definition := int32(w.store.rules[name.machine].Machine.Version())
		w.batch.Queue(w.store.schema.sql(insertHistorySQL), name.machine, definition, name.topic, pgtype.UUID{Bytes: name.topicID, Valid: true},
			s.partitions, s.offsets, s.entities, s.versions, s.events, s.from, s.to, s.messages, s.digests)
	}
}

// newSteps makes room for the steps of moves.
func newSteps(moves []*versioning.Move) *steps {
	n := 0
	for _, m := range moves {
		n += len(m.Steps)
	}
	return &steps{
		entities: make(texts, 0, n), events: make(texts, 0, n), from: make(texts, 0, n), to: make(texts, 0, n),
		messages: make(texts, 0, n), versions: make(bigints, 0, n), offsets: make(bigints, 0, n), digests: make(bigints, 0, n), partitions: make(integers, 0, n),
	}
}
