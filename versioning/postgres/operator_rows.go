package postgres

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/statemachine"
)

// This file counts the rows of an entity table by state, in a time that does not grow with the
// table.

// A Count is how many rows there are, as far as that can be found out fast.
type Count struct {
	N int64

	// AtLeast is true if counting has stopped at N. Estimated is true if N is not counted, but
	// computed from a sample and the size of the table.
	AtLeast, Estimated bool
}

// A StateRows is how many rows of a table are in a state.
type StateRows struct {
	State statemachine.State
	Count Count
}

const (
	// countedRows limits the rows of a table that are counted one by one.
	countedRows = 100_000

	// countedPages is the size of a table above which only a sample is read.
	countedPages = 5_000

	// samplePages is the size of a sample.
	samplePages = 500

	// countedOfState limits the rows of a state that are counted in an index.
	countedOfState = 1_000
)

// rowsByState counts the rows of a table, and those in each state, by state. A small table is
// counted. Of a large one, a sample of pages is read. It misses states with few rows, unless an
// index begins with the state: then these are counted.
func (o *Operator) rowsByState(ctx context.Context, l *entityLayout) (all Count, states []StateRows, err error) {
	if l.pages <= countedPages {
		if all, states, err = o.countRows(ctx, l); err != nil || !all.AtLeast {
			return all, states, err
		}
	}
	if all, states, err = o.sampleRows(ctx, l); err != nil || !l.indexed {
		return all, states, err
	}
	states, err = o.countRare(ctx, l, states)
	return all, states, err
}

// countRows counts up to countedRows rows.
func (o *Operator) countRows(ctx context.Context, l *entityLayout) (all Count, states []StateRows, err error) {
	sql := fmt.Sprintf(`SELECT s::text, count(*) FROM (SELECT %s AS s FROM %s LIMIT %d) AS t GROUP BY 1 ORDER BY 1`, quote(l.state), l.ident, countedRows+1)
	states, all.N, err = o.states(ctx, l, sql)
	all.AtLeast = all.N > countedRows
	return all, states, err
}

// states runs a query for states and their numbers, and adds these up.
func (o *Operator) states(ctx context.Context, l *entityLayout, sql string) (states []StateRows, sum int64, err error) {
	rows, err := o.pool.Query(ctx, sql, oneMessage)
	if err == nil {
		var state string
		var n int64
		_, err = pgx.ForEachRow(rows, []any{&state, &n}, func() error {
			states, sum = append(states, StateRows{statemachine.State(state), Count{N: n}}), sum+n
			return nil
		})
	}
	if err != nil {
		return nil, 0, fmt.Errorf("count the rows of table %s by state: %w", l.ident, err)
	}
	return states, sum, nil
}

// sampleRows estimates the rows from a sample of pages. If the table was never analyzed, their
// number is estimated from the sample too.
func (o *Operator) sampleRows(ctx context.Context, l *entityLayout) (all Count, states []StateRows, err error) {
	share := min(1, float64(samplePages)/float64(max(l.pages, 1)))
	sql := fmt.Sprintf(`SELECT %s::text, count(*) FROM %s TABLESAMPLE SYSTEM (%.10f) GROUP BY 1 ORDER BY 1`, quote(l.state), l.ident, 100*share)
	states, sampled, err := o.states(ctx, l, sql)
	if err != nil {
		return all, nil, err
	}
	total := l.rows
	if total == 0 {
		total = float64(sampled) / share
	}
	for i := range states {
		c := &states[i].Count
		c.N, c.Estimated = int64(math.Round(float64(c.N)/float64(sampled)*total)), true
	}
	return Count{N: int64(total), Estimated: true}, states, nil
}

// countRare counts the states with few rows in an index, and adds those that a sample has missed.
func (o *Operator) countRare(ctx context.Context, l *entityLayout, sampled []StateRows) ([]StateRows, error) {
	state := quote(l.state)
	sql := fmt.Sprintf(`
WITH RECURSIVE present AS (
	(SELECT %[1]s AS state FROM %[2]s ORDER BY %[1]s LIMIT 1)
	UNION ALL
	SELECT (SELECT t.%[1]s FROM %[2]s AS t WHERE t.%[1]s > present.state ORDER BY t.%[1]s LIMIT 1) FROM present WHERE present.state IS NOT NULL
)
SELECT p.state::text, (SELECT count(*) FROM (SELECT FROM %[2]s AS t WHERE t.%[1]s = p.state LIMIT %[3]d) AS few)
FROM present AS p WHERE p.state IS NOT NULL ORDER BY p.state::text`, state, l.ident, countedOfState+1)
	states, _, err := o.states(ctx, l, sql)
	if err != nil {
		return nil, err
	}
	for i := range states {
		s := &states[i]
		if s.Count.N <= countedOfState {
			continue
		}
		s.Count = Count{N: countedOfState, AtLeast: true}
		at := slices.IndexFunc(sampled, func(o StateRows) bool { return o.State == s.State })
		if at >= 0 && sampled[at].Count.N > countedOfState {
			s.Count = sampled[at].Count
		}
	}
	return states, nil
}
