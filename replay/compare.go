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
		meter := h.newComparing()
		same, err := h.isSame(ctx, tx, s, v, meter)
		if err != nil || same {
			return err
		}
		return h.findDifferences(ctx, tx, s, v, meter)
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
	batch.Queue(fmt.Sprintf("ANALYZE %s.ranges", h.name)) // otherwise the planner takes it for large, and sorts the history
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("write what was read: %w", err)
	}
	return nil
}

// cut fills table cut with the first step of each entity that can't be compared.
func (h *shadow) cut(ctx context.Context, tx pgx.Tx, several bool) error {
	machines := make([]string, len(h.cfg.Tables))
	for i, t := range h.cfg.Tables {
		machines[i] = t.Machine.Name()
	}
	found, err := tx.Exec(ctx, h.named(cutSQL), machines)
	n := found.RowsAffected()
	if err == nil {
		found, err = tx.Exec(ctx, h.named(olderSQL), machines)
		n += found.RowsAffected()
	}
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

// findDifferences compares in more detail.
func (h *shadow) findDifferences(ctx context.Context, tx pgx.Tx, s *state, v *Verified, meter *comparing) error {
	*v = Verified{Kinds: make(map[DifferenceKind]int64)}
	meter.total = meter.done + int64(2+3*len(h.cfg.Tables))
	if err := h.cut(ctx, tx, s.Several); err != nil {
		return err
	}
	meter.next()
	for _, t := range h.cfg.Tables {
		if err := h.compareMachine(ctx, tx, t.Machine, s, v, meter); err != nil {
			return fmt.Errorf("machine %q: %w", t.Machine.Name(), err)
		}
	}
	err := h.explain(ctx, tx, v)
	meter.next()
	return err
}

// comparing tells how many statements of a comparison are done. They take so different times that
// a rate would say nothing.
type comparing struct {
	progress    func(Progress) // may be nil
	done, total int64
}

func (h *shadow) newComparing() *comparing {
	c := &comparing{progress: h.cfg.Progress, done: -1, total: int64(2 * len(h.cfg.Tables))}
	c.next()
	return c
}

func (c *comparing) next() {
	c.done++
	if c.progress != nil {
		c.progress(Progress{Step: stepCompare, Done: c.done, Total: c.total})
	}
}

func (h *shadow) compareMachine(ctx context.Context, tx pgx.Tx, t *statemachine.Machine, s *state, v *Verified, meter *comparing) error {
	machine := t.Name()
	of := h.layout[machine]
	if _, err := tx.Exec(ctx, h.mapped(t, pathSQL), machine); err != nil {
		return fmt.Errorf("compare the history: %w", err)
	}
	meter.next()
	if _, err := tx.Exec(ctx, h.rowsSQL(t, of, h.columnsOf(machine, s)), machine); err != nil {
		return fmt.Errorf("compare the rows: %w", err)
	}
	meter.next()
	var entities, cut, steps, given, whole int64
	if err := tx.QueryRow(ctx, fmt.Sprintf(sizesSQL, h.name, of.copy.Table, of.live.Table, of.live.Key), machine).Scan(&entities, &cut, &steps, &given, &whole); err != nil {
		return fmt.Errorf("count what was compared: %w", err)
	}
	meter.next()
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
