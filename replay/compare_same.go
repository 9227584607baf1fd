package replay

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/statemachine"
)

// This file finds out whether anything differs at all, which is all there is to do in most cases.
// PostgreSQL runs its statements on several cores. It does not do that for the statements that find
// the differences: INSERT is never parallel, and FULL JOIN is not before version 16.

// sameStepsSQL counts the steps of machine $1: the live ones; those of them that the copies have too,
// and that were read or taken as they are; those of the copies; those taken as they are; and those
// of these after which the columns of the row can't be compared.
const sameStepsSQL = `
SELECT count(*), count(*) FILTER (WHERE (l.event, {from}, {to}, l.message_id) IS NOT DISTINCT FROM (t.event, t.from_state, t.to_state, t.message_id)
		AND (r.topic_id IS NOT NULL OR g.version IS NOT NULL)),
	(SELECT count(*) FROM {anew}.transitions WHERE machine = $1), (SELECT count(*) FROM {anew}.given WHERE machine = $1),
	(SELECT count(*) FROM {anew}.given WHERE machine = $1 AND NOT timer)
FROM {live}.transitions AS l
LEFT JOIN {anew}.transitions AS t ON t.machine = $1 AND t.entity = l.entity AND t.version = l.version
LEFT JOIN {anew}.ranges AS r ON r.topic_id = l.topic_id AND r.partition = l.partition AND l."offset" >= r.first AND l."offset" < r.last
LEFT JOIN {anew}.given AS g ON g.machine = $1 AND g.entity = l.entity AND g.version = l.version
WHERE l.machine = $1`

// isSame reports whether the copies are what is live, and counts what was compared.
func (h *shadow) isSame(ctx context.Context, tx pgx.Tx, s *state, v *Verified, meter *comparing) (bool, error) {
	for _, t := range h.cfg.Tables {
		same, err := h.isSameMachine(ctx, tx, t.Machine, s, v, meter)
		if err != nil {
			return false, fmt.Errorf("machine %q: %w", t.Machine.Name(), err)
		}
		if !same {
			return false, nil
		}
	}
	return true, nil
}

func (h *shadow) isSameMachine(ctx context.Context, tx pgx.Tx, m *statemachine.Machine, s *state, v *Verified, meter *comparing) (bool, error) {
	var live, same, anew, given, unknown int64
	if err := tx.QueryRow(ctx, h.mapped(m, sameStepsSQL), m.Name()).Scan(&live, &same, &anew, &given, &unknown); err != nil {
		return false, fmt.Errorf("compare the history: %w", err)
	}
	meter.next()
	if same != live || same != anew || unknown > 0 {
		return false, nil
	}
	v.Steps, v.Given = v.Steps+anew, v.Given+given
	if err := tx.QueryRow(ctx, h.sameRowsSQL(m, h.columnsOf(m.Name(), s))).Scan(&live, &same, &anew); err != nil {
		return false, fmt.Errorf("compare the rows: %w", err)
	}
	meter.next()
	v.Entities, v.Whole = v.Entities+anew, v.Whole+live
	return same >= max(live, anew), nil
}

// sameRowsSQL returns a statement that counts rows: the live ones, those of them that the copies
// have too, and those of the copies.
func (h *shadow) sameRowsSQL(m *statemachine.Machine, columns []string) string {
	of := h.layout[m.Name()]
	same := []string{
		fmt.Sprintf("%s = t.%s::text", current(m, "l."+of.live.State+"::text"), of.live.State),
		fmt.Sprintf("l.%s = t.%[1]s", of.live.Version),
	}
	for _, c := range columns {
		same = append(same, fmt.Sprintf("l.%s::text IS NOT DISTINCT FROM t.%[1]s::text", c))
	}
	return fmt.Sprintf("SELECT (SELECT count(*) FROM %s), count(*), (SELECT count(*) FROM %s) FROM %[1]s AS l JOIN %[2]s AS t ON l.%s = t.%[3]s WHERE %s",
		of.live.Table, of.copy.Table, of.live.Key, strings.Join(same, " AND "))
}
