package replay

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/statemachine"
)

// This file finds the entities that differ, in SQL: all of them at once, and with sets.

// compare fills table found with the entities that differ, and table cut with those that have
// steps from elsewhere, and counts what it has compared. All reads are of one snapshot, so the workers may
// go on.
func (h *shadow) compare(ctx context.Context, s *state) (*Verified, error) {
	v := &Verified{Kinds: make(map[DifferenceKind]int64)}
	var done int64
	total := int64(2 + comparisons*len(h.cfg.Tables))
	next := func() {
		done++
		h.compared(done, total)
	}
	h.compared(done, total)
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead}
	err := pgx.BeginTxFunc(ctx, h.pool, options, func(tx pgx.Tx) error {
		if err := h.isWhole(ctx, tx); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "SET LOCAL work_mem = '128MB'"); err != nil {
			return err
		}
		if err := h.writeRanges(ctx, tx, s.Report.Ranges); err != nil {
			return err
		}
		if err := h.cut(ctx, tx, s.Several); err != nil {
			return err
		}
		next()
		for _, t := range h.cfg.Tables {
			if err := h.compareMachine(ctx, tx, t.Machine, s, v, next); err != nil {
				return fmt.Errorf("machine %q: %w", t.Machine.Name(), err)
			}
		}
		err := h.explain(ctx, tx, v)
		next()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	return v, nil
}

// writeRanges writes what was read into table ranges, and empties the other tables.
func (h *shadow) writeRanges(ctx context.Context, tx pgx.Tx, ranges []Range) error {
	if _, err := tx.Exec(ctx, fmt.Sprintf("TRUNCATE %s.ranges, %[1]s.cut, %[1]s.shared, %[1]s.found", h.name)); err != nil {
		return fmt.Errorf("empty the tables of the comparison: %w", err)
	}
	batch := &pgx.Batch{}
	for _, r := range ranges {
		batch.Queue(fmt.Sprintf("INSERT INTO %s.ranges VALUES ($1, $2, $3, $4)", h.name), r.TopicID, r.Partition, r.First, r.Next)
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("write what was read: %w", err)
	}
	return nil
}

// wasGiven is true for a step h of the history that was taken as it is. fromElsewhere is true for one
// that no record has made that was read.
const wasGiven = `EXISTS (SELECT FROM {anew}.given AS g WHERE g.machine = h.machine AND g.entity = h.entity AND g.version = h.version)`

const fromElsewhere = `NOT EXISTS (
	SELECT FROM {anew}.ranges AS r WHERE r.topic_id = h.topic_id AND r.partition = h.partition AND h."offset" >= r.first AND h."offset" < r.last
)`

const (
	// cutSQL finds the first step of each entity that comes from elsewhere. What follows it can't
	// be compared.
	cutSQL = `
INSERT INTO {anew}.cut
SELECT h.machine, h.entity, min(h.version) FROM {live}.transitions AS h WHERE h.machine = ANY ($1) AND ` + fromElsewhere + ` AND NOT ` + wasGiven + ` GROUP BY 1, 2`

	// otherSQL finds the first step of each entity of machine $1 that another version of the
	// machine than $2 has made and that this one does not make.
	otherSQL = `
INSERT INTO {anew}.cut
SELECT l.machine, l.entity, min(l.version) FROM {live}.transitions AS l
LEFT JOIN {anew}.transitions AS t ON t.machine = l.machine AND t.entity = l.entity AND t.version = l.version
WHERE l.machine = $1 AND l.definition_version <> $2
	AND (l.event, {from}, {to}, l.message_id) IS DISTINCT FROM (t.event, t.from_state, t.to_state, t.message_id)
GROUP BY 1, 2
ON CONFLICT (machine, entity) DO UPDATE SET version = least(cut.version, excluded.version)`

	// sharedSQL finds the steps of records with several entities, live or of the copies.
	sharedSQL = `
INSERT INTO {anew}.shared
WITH steps AS MATERIALIZED (
	SELECT topic_id, partition, "offset", machine, entity, version FROM {live}.transitions WHERE machine = ANY ($1)
	UNION ALL
	SELECT topic_id, partition, "offset", machine, entity, version FROM {anew}.transitions
)
SELECT h.topic_id, h.partition, h."offset", h.machine, h.entity, min(h.version)
FROM steps AS h JOIN (
	SELECT topic_id, partition, "offset" FROM steps
	GROUP BY 1, 2, 3 HAVING (min(machine), min(entity)) <> (max(machine), max(entity))
) AS o ON o.topic_id = h.topic_id AND o.partition = h.partition AND o."offset" = h."offset"
GROUP BY 1, 2, 3, 4, 5`

	// spreadSQL finds the entities with a step of a record that also makes a step of another
	// entity, one that can't be compared: the copies have neither of them.
	spreadSQL = `
INSERT INTO {anew}.cut
SELECT s.machine, s.entity, min(s.version) FROM {anew}.shared AS s
JOIN {anew}.shared AS o ON o.topic_id = s.topic_id AND o.partition = s.partition AND o."offset" = s."offset" AND (o.machine, o.entity) <> (s.machine, s.entity)
JOIN {anew}.cut AS c ON c.machine = o.machine AND c.entity = o.entity AND o.version >= c.version
LEFT JOIN {anew}.cut AS own ON own.machine = s.machine AND own.entity = s.entity
WHERE own.version IS NULL OR s.version < own.version
GROUP BY 1, 2
ON CONFLICT (machine, entity) DO UPDATE SET version = excluded.version`

	// pathSQL finds the first step of each entity that differs.
	pathSQL = `
INSERT INTO {anew}.found (machine, entity, path)
SELECT $1, d.entity, min(d.version) FROM (
	SELECT coalesce(l.entity, t.entity) AS entity, coalesce(l.version, t.version) AS version
	FROM (SELECT entity, version, event, {from} AS from_state, {to} AS to_state, message_id FROM {live}.transitions AS l WHERE machine = $1) AS l
	FULL JOIN (SELECT entity, version, event, from_state, to_state, message_id FROM {anew}.transitions WHERE machine = $1) AS t
		ON l.entity = t.entity AND l.version = t.version
	WHERE (l.event, l.from_state, l.to_state, l.message_id) IS DISTINCT FROM (t.event, t.from_state, t.to_state, t.message_id)
) AS d LEFT JOIN {anew}.cut AS c ON c.machine = $1 AND c.entity = d.entity
WHERE c.version IS NULL OR d.version < c.version
GROUP BY d.entity`

	// sizesSQL counts the entities, those with steps from elsewhere, and the steps.
	sizesSQL = `
SELECT (SELECT count(*) FROM %[2]s), (SELECT count(*) FROM %[1]s.cut WHERE machine = $1), (SELECT count(*) FROM %[1]s.transitions WHERE machine = $1),
	(SELECT count(*) FROM %[1]s.given WHERE machine = $1),
	(SELECT count(*) FROM %[3]s AS l WHERE NOT EXISTS (SELECT FROM %[1]s.cut AS c WHERE c.machine = $1 AND c.entity = l.%[4]s::text))`
)

// cut fills table cut with the first step of each entity that can't be compared.
func (h *shadow) cut(ctx context.Context, tx pgx.Tx, several bool) error {
	machines := make([]string, len(h.cfg.Tables))
	for i, t := range h.cfg.Tables {
		machines[i] = t.Machine.Name()
	}
	found, err := tx.Exec(ctx, h.named(cutSQL), machines)
	n := found.RowsAffected()
	for i, t := range h.cfg.Tables {
		if err == nil {
			found, err = tx.Exec(ctx, h.mapped(t.Machine, otherSQL), machines[i], t.Machine.Version())
			n += found.RowsAffected()
		}
	}
	if err == nil && several && n > 0 {
		_, err = tx.Exec(ctx, h.named(sharedSQL), machines)
		for n := n; err == nil && n > 0; {
			found, err = tx.Exec(ctx, h.named(spreadSQL))
			n = found.RowsAffected()
		}
	}
	if err != nil {
		return fmt.Errorf("look for steps from elsewhere: %w", err)
	}
	return nil
}

// comparisons is how many statements compare a machine.
const comparisons = 3

// compared tells how many statements of the comparison are done. They take so different times that
// a rate would say nothing.
func (h *shadow) compared(done, total int64) {
	if h.cfg.Progress != nil {
		h.cfg.Progress(Progress{Step: stepCompare, Done: done, Total: total})
	}
}

func (h *shadow) compareMachine(ctx context.Context, tx pgx.Tx, t *statemachine.Machine, s *state, v *Verified, next func()) error {
	machine := t.Name()
	of := h.layout[machine]
	if _, err := tx.Exec(ctx, h.mapped(t, pathSQL), machine); err != nil {
		return fmt.Errorf("compare the history: %w", err)
	}
	next()
	if _, err := tx.Exec(ctx, h.rowsSQL(t, of, h.columnsOf(machine, s)), machine); err != nil {
		return fmt.Errorf("compare the rows: %w", err)
	}
	next()
	var entities, cut, steps, given, whole int64
	if err := tx.QueryRow(ctx, fmt.Sprintf(sizesSQL, h.name, of.copy.Table, of.live.Table, of.live.Key), machine).Scan(&entities, &cut, &steps, &given, &whole); err != nil {
		return fmt.Errorf("count what was compared: %w", err)
	}
	next()
	v.Entities, v.Cut, v.Steps, v.Given = v.Entities+entities, v.Cut+cut, v.Steps+steps, v.Given+given
	v.Whole += whole
	return nil
}

// columnsOf returns the columns of a machine's rows that the framework writes, besides key, state and
// version, quoted.
func (h *shadow) columnsOf(machine string, s *state) []string {
	columns := h.layout[machine].live.Data
	for _, name := range s.Columns[machine] {
		if quoted := (pgx.Identifier{name}).Sanitize(); !slices.Contains(columns, quoted) {
			columns = append(slices.Clip(columns), quoted)
		}
	}
	return columns
}

// rowsSQL finds the rows that differ, but not those of entities with steps from elsewhere, nor
// those that only another writer knows: without any history.
func (h *shadow) rowsSQL(m *statemachine.Machine, of layouts, columns []string) string {
	differ := make([]string, 0, len(columns))
	for _, c := range columns {
		differ = append(differ, fmt.Sprintf("CASE WHEN l.%s::text IS DISTINCT FROM t.%[1]s::text THEN %s END", c, literal(unquote(c))))
	}
	list := "ARRAY[]::text[]"
	if len(differ) > 0 {
		list = "array_remove(ARRAY[" + strings.Join(differ, ", ") + "], NULL)"
	}
	return fmt.Sprintf(`
INSERT INTO %[1]s.found AS f (machine, entity, missing, extra, state, version, columns)
SELECT $1, d.entity, d.missing, d.extra, d.state, d.version, CASE WHEN d.missing OR d.extra THEN ARRAY[]::text[] ELSE d.columns END FROM (
	SELECT coalesce(l.%[4]s, t.%[4]s)::text AS entity, l.%[4]s IS NULL AS missing, t.%[4]s IS NULL AS extra,
	       %[9]s <> t.%[5]s::text AS state, l.%[6]s <> t.%[6]s AS version,
	       CASE WHEN EXISTS (SELECT FROM %[1]s.given AS g WHERE g.machine = $1 AND g.entity = l.%[4]s::text AND NOT g.timer) THEN ARRAY[]::text[] ELSE %[7]s END AS columns
	FROM %[2]s AS l FULL JOIN %[3]s AS t ON l.%[4]s = t.%[4]s
) AS d
WHERE (d.missing OR d.extra OR d.state OR d.version OR d.columns <> ARRAY[]::text[])
	AND NOT EXISTS (SELECT FROM %[1]s.cut AS c WHERE c.machine = $1 AND c.entity = d.entity)
	AND (NOT d.extra OR EXISTS (SELECT FROM %[8]s.transitions AS h WHERE h.machine = $1 AND h.entity = d.entity))
ON CONFLICT (machine, entity) DO UPDATE SET missing = excluded.missing, extra = excluded.extra, state = excluded.state,
	version = excluded.version, columns = excluded.columns`,
		h.name, of.live.Table, of.copy.Table, of.live.Key, of.live.State, of.live.Version, list, h.live, current(m, "l."+of.live.State+"::text"))
}

// mapped puts the schemas into a statement, and for {from} and {to} the states of the live step l.
func (h *shadow) mapped(m *statemachine.Machine, sql string) string {
	return strings.NewReplacer("{live}", h.live, "{anew}", h.name, "{from}", current(m, "l.from_state"), "{to}", current(m, "l.to_state")).Replace(sql)
}

// current returns an expression for a state: if the machine has retired it in favour of another one, it
// counts as that.
func current(m *statemachine.Machine, state string) string {
	var cases []string
	for _, s := range m.Retired() {
		if to, ok := m.Fire(s, statemachine.Migrated); ok && len(m.Branches(s, statemachine.Migrated)) <= 1 {
			cases = append(cases, fmt.Sprintf("WHEN %s THEN %s", literal(string(s)), literal(string(to))))
		}
	}
	if len(cases) == 0 {
		return state
	}
	return "CASE " + state + " " + strings.Join(cases, " ") + " ELSE " + state + " END"
}

// named puts the schemas into a statement.
func (h *shadow) named(sql string) string {
	return strings.NewReplacer("{live}", h.live, "{anew}", h.name).Replace(sql)
}

func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

func unquote(quoted string) string {
	return strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(quoted, `"`), `"`), `""`, `"`)
}
