package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/statemachine"
)

// A StateCount is how many rows are in a state.
type StateCount struct {
	State statemachine.State
	Rows  int64    // in the sample, if it is one
	Keys  []string // of some of them
}

// sampleRows limits the rows that are read to count states without an index.
const sampleRows = 200_000

// countStates counts the rows of a table in states other than the known ones. sampled means that
// it has counted a sample of a large table.
func (t *table) countStates(ctx context.Context, conn *pgxpool.Conn, known []statemachine.State) (states []StateCount, sampled bool, err error) {
	names := make([]string, len(known))
	for i, state := range known {
		names[i] = string(state)
	}
	var rows int64
	var indexed bool
	if err := conn.QueryRow(ctx, statesIndexSQL, oneMessage, t.oid, t.state.name).Scan(&rows, &indexed); err != nil {
		return nil, false, fmt.Errorf("read the size of table %s: %w", t.Name, err)
	}
	sampled = rows > sampleRows && !indexed
	result, err := conn.Query(ctx, t.strandedSQL(indexed, sampled, rows), oneMessage, names)
	if err == nil {
		states, err = pgx.CollectRows(result, pgx.RowToStructByPos[StateCount])
	}
	if err != nil {
		return nil, false, fmt.Errorf("count the rows of table %s by state: %w", t.Name, err)
	}
	return states, sampled, nil
}

// statesIndexSQL estimates the rows of table $1, and reports whether a whole index begins with
// column $2.
const statesIndexSQL = `
WITH RECURSIVE tree AS (
	SELECT $1::oid AS oid
	UNION ALL
	SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i JOIN tree ON i.inhparent = tree.oid
)
SELECT (SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint FROM tree JOIN pg_catalog.pg_class AS c ON c.oid = tree.oid WHERE c.relkind = 'r'),
       EXISTS (
	SELECT FROM pg_catalog.pg_index AS i
	JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
	WHERE i.indrelid = $1 AND a.attname = $2 AND i.indpred IS NULL AND i.indisvalid
)`

// strandedSQL counts the rows whose state is not one of $1, by state, with the keys of three.
// With an index it looks up one state after another. Otherwise it reads all rows, or a sample.
func (t *table) strandedSQL(indexed, sampled bool, rows int64) string {
	state, key := t.state.sqlName(), t.key.sqlName()
	from := t.ident
	if sampled {
		from += fmt.Sprintf(" TABLESAMPLE SYSTEM (%f) REPEATABLE (1)", 100*float64(sampleRows)/float64(rows))
	}
	if !indexed {
		return fmt.Sprintf(`
SELECT %[1]s::text, count(*), (array_agg(%[2]s::text))[1:3] FROM %[3]s
WHERE %[1]s::text <> ALL ($1::text[]) GROUP BY 1 ORDER BY 1`, state, key, from)
	}
	return fmt.Sprintf(`
WITH RECURSIVE present AS (
	(SELECT %[1]s AS state FROM %[3]s ORDER BY %[1]s LIMIT 1)
	UNION ALL
	SELECT (SELECT t.%[1]s FROM %[3]s AS t WHERE t.%[1]s > present.state ORDER BY t.%[1]s LIMIT 1) FROM present WHERE present.state IS NOT NULL
)
SELECT p.state::text, (SELECT count(*) FROM %[3]s AS t WHERE t.%[1]s = p.state),
       ARRAY(SELECT t.%[2]s::text FROM %[3]s AS t WHERE t.%[1]s = p.state LIMIT 3)
FROM present AS p WHERE p.state IS NOT NULL AND p.state::text <> ALL ($1::text[]) ORDER BY 1`, state, key, from)
}
