package postgres

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

// deferNothing makes PostgreSQL check the constraints of a table with each statement.
// For records with one change, the COMMIT of that record alone would check them at the
// same point.
func (w *writer) deferNothing(t *table) {
	if len(t.rules.deferred) > 0 && !w.immediate {
		w.immediate = true
		w.batch.Queue(checkNowSQL)
	}
}

// checkNowSQL makes PostgreSQL check all constraints with each statement from now on.
const checkNowSQL = `SET CONSTRAINTS ALL IMMEDIATE`

// byShape groups units that can share a statement, in the order of their shapes.
func (t *table) byShape(units []*unit, shapeOf func(*unit) string) [][]*unit {
	if len(units) == 0 {
		return nil
	}
	if first := shapeOf(units[0]); !slices.ContainsFunc(units[1:], func(u *unit) bool { return shapeOf(u) != first }) {
		return [][]*unit{units}
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

// updateShape distinguishes updates that can't share a statement: a trigger may fire
// only for updates of certain columns.
func (t *table) updateShape(u *unit) string {
	if !t.rules.ofColumns {
		return ""
	}
	return shapeOf(u.set, func(column) bool { return true })
}

// insertShape distinguishes inserts that can't share a statement, because SQL can't say
// DEFAULT for some rows of a set only. If the default is known as an expression, the
// statement uses the expression. A column without a default is NULL if a row does not
// set it.
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
	byWriter := w.blind != nil || t.rows.hasFields()
	if byWriter {
		args = append(args, w.writersOf(units))
	}
	for _, at := range columns {
		values, set := valuesOf(units, at)
		args = append(args, values, set)
	}
	w.guarded(n, t.updateSQL(columns, byWriter), args)
	w.verify(t, keys, to, toVersion)
}

// writersOf returns, for the first unit of each entity, which transaction has written the
// row that was read or recalled. The later units follow a write of the current transaction.
func (w *writer) writersOf(units []*unit) nullTexts {
	writers := make(nullTexts, len(units))
	for i, u := range units {
		if u.prev != nil {
			continue
		}
		if data, ok := u.move.From.Data.(*rowData); ok {
			writers[i] = pgtype.Text{String: data.xmin, Valid: true}
		} else if w.blind != nil {
			writers[i] = pgtype.Text{String: w.blind.past(u.move.Known()).memo.writer, Valid: true}
		}
	}
	return writers
}

// updateSQL is the guarded update: $1 key, $2 and $3 the state and version that the row
// must have, $4 and $5 those that it gets; with byWriter, then the transaction that must
// have written the row last, because functions have computed with its columns, or because
// the row was recalled; then for each column its values and whether the row sets it.
func (t *table) updateSQL(columns []int, byWriter bool) string {
	var set, params, names strings.Builder
	first, guard := 6, ""
	if byWriter {
		first, guard = 7, "\n  AND (u.writer IS NULL OR t.xmin = u.writer::pg_catalog.xid)"
		params.WriteString(", $6::text[]")
		names.WriteString(", writer")
	}
	for i, at := range columns {
		c := &t.columns[at]
		fmt.Fprintf(&set, ", %s = CASE WHEN u.set%d THEN u.val%d::%s ELSE t.%s END",
			c.sqlName(), i, i, c.cast, c.sqlName())
		fmt.Fprintf(&params, ", $%d::text[], $%d::boolean[]", first+2*i, first+1+2*i)
		fmt.Fprintf(&names, ", val%d, set%d", i, i)
	}
	return fmt.Sprintf(`
UPDATE %[1]s AS t SET %[3]s = u.to_state::%[6]s, %[4]s = u.to_version%[7]s
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::bigint[]%[8]s)
	AS u(key, from_state, from_version, to_state, to_version%[9]s)
WHERE t.%[2]s = u.key::%[5]s AND t.%[3]s::text = u.from_state AND t.%[4]s = u.from_version%[10]s
RETURNING true`,
		t.ident, t.key.sqlName(), t.state.sqlName(), t.version.sqlName(), t.key.cast, t.state.cast,
		set.String(), params.String(), names.String(), guard)
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
	someDefault := make([]bool, len(columns)) // some rows use the column's default
	for i, at := range columns {
		values, set := valuesOf(units, at)
		args = append(args, values)
		if t.columns[at].defaultSQL != "" && slices.Contains(set, false) {
			someDefault[i] = true
			args = append(args, set)
		}
	}
	w.guarded(n, t.insertSQL(columns, someDefault, w.blind != nil), args)
	w.verify(t, keys, states, versions)
}

// insertSQL inserts rows: $1 key, $2 state, $3 version; then for each column its
// values, and, if some rows use its default, whether the row sets it. An existing key
// is skipped, which counts as moved by another writer. If the rows were certainly absent a
// moment ago, it is an error, which costs PostgreSQL less. Any other conflict is an error
// about the row's data.
func (t *table) insertSQL(columns []int, someDefault []bool, absent bool) string {
	var into, values, params, names strings.Builder
	param := 3
	for i, at := range columns {
		c := &t.columns[at]
		param++
		fmt.Fprintf(&into, ", %s", c.sqlName())
		fmt.Fprintf(&params, ", $%d::text[]", param)
		fmt.Fprintf(&names, ", val%d", i)
		if !someDefault[i] {
			fmt.Fprintf(&values, ", u.val%d::%s", i, c.cast)
			continue
		}
		param++
		fmt.Fprintf(&values, ", CASE WHEN u.set%d THEN u.val%d::%s ELSE %s END", i, i, c.cast, c.defaultSQL)
		fmt.Fprintf(&params, ", $%d::boolean[]", param)
		fmt.Fprintf(&names, ", set%d", i)
	}
	skip := fmt.Sprintf("\nON CONFLICT (%s) DO NOTHING", t.key.sqlName())
	if absent {
		skip = ""
	}
	return fmt.Sprintf(`
INSERT INTO %[1]s (%[2]s, %[3]s, %[4]s%[7]s)
SELECT u.key::%[5]s, u.state::%[6]s, u.version%[8]s
FROM unnest($1::text[], $2::text[], $3::bigint[]%[9]s) AS u(key, state, version%[10]s)%[11]s
RETURNING true`,
		t.ident, t.key.sqlName(), t.state.sqlName(), t.version.sqlName(), t.key.cast, t.state.cast,
		into.String(), values.String(), params.String(), names.String(), skip)
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

// valuesOf returns the values of one column, and which of the units set it.
func valuesOf(units []*unit, at int) (nullTexts, booleans) {
	values, set := make(nullTexts, len(units)), make(booleans, len(units))
	for i, u := range units {
		if j, ok := slices.BinarySearchFunc(u.set, at, func(c column, at int) int { return c.at - at }); ok {
			values[i] = pgtype.Text{String: u.set[j].text, Valid: !u.set[j].null}
			set[i] = true
		}
	}
	return values, set
}

// verify queues a check that rows are as they were written, if triggers may have
// changed them.
func (w *writer) verify(t *table, keys, states texts, versions bigints) {
	if len(t.rules.triggers) > 0 {
		w.batch.Queue(t.verifySQL(w.store.schema), keys, states, versions).Query(func(rows pgx.Rows) error {
			rows.Close()
			return t.verified(w.store.schema, rows.Err())
		})
	}
}

// verifySQL fails, with the name of a column, if a row is not as it was written: $1
// key, $2 state, $3 version.
func (t *table) verifySQL(s *schema) string {
	return fmt.Sprintf(`
SELECT coalesce(min(CASE WHEN w.is_there IS NULL THEN 'key' WHEN w.state <> u.state THEN 'state' WHEN w.version <> u.version THEN 'version' END),
                '')::%[6]s.written
FROM (SELECT pg_catalog.unnest($1::text[]) AS key, pg_catalog.unnest($2::text[]) AS state, pg_catalog.unnest($3::bigint[]) AS version OFFSET 0) AS u
LEFT JOIN LATERAL (
	SELECT true AS is_there, t.%[3]s::text AS state, t.%[4]s AS version FROM %[1]s AS t WHERE t.%[2]s = u.key::%[5]s OFFSET 0
) AS w ON true`, t.ident, t.key.sqlName(), t.state.sqlName(), t.version.sqlName(), t.key.cast, s.quoted)
}

// verified translates an error of verifySQL: a trigger has changed a column that the
// framework writes. Retrying does not help until the trigger leaves the column alone.
func (t *table) verified(s *schema, err error) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pgErr.SchemaName != s.String() || pgErr.DataTypeName != "written" {
		return err
	}
	column := map[string]string{"written_key": t.Key, "written_state": t.State, "written_version": t.Version}[pgErr.ConstraintName]
	return t.problem(column, "the row is not as it was written, so a trigger has changed it; "+
		"remove the column from the trigger (the table's triggers: %s)", strings.Join(t.rules.triggers, ", "))
}
