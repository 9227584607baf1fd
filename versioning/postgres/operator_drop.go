package postgres

import (
	"context"
	"fmt"
)

// dropAtOnce limits the rows that one transaction drops.
const dropAtOnce = 1000

// DropDeadLetters deletes the dead letters that match, in ascending order of ID, and records in the
// table audit which ones, a thousand in a transaction. It returns how many there were. The filter's
// Limit limits them; 0 means no limit. The role needs SELECT and DELETE on table dead_letters, and
// INSERT on table audit; without that, the error is [ErrAudit].
//
// The records are gone for good: if one of them is delivered again, it is judged as a new one.
func (o *Operator) DropDeadLetters(ctx context.Context, act Act, f DeadLetterFilter) (int64, error) {
	return o.drop(ctx, &act, dropDeadSQL, f.Limit, f.args)
}

// DropParked deletes the parked records that match, those that have waited longest first, like
// [Operator.DropDeadLetters]. A record that a worker settles meanwhile is left to it.
func (o *Operator) DropParked(ctx context.Context, act Act, q ParkedQuery) (int64, error) {
	return o.drop(ctx, &act, dropParkedSQL, q.Limit, q.args)
}

func (o *Operator) drop(ctx context.Context, act *Act, sql pawlSQL, limit int, args func(limit int) []any) (dropped int64, err error) {
	if err := o.schema.checkAudit(ctx, o.pool, act); err != nil {
		return 0, err
	}
	for {
		some := dropAtOnce
		if limit > 0 {
			some = min(some, limit-int(dropped))
		}
		if some == 0 {
			return dropped, nil
		}
		given := append(append([]any{oneMessage}, args(some)...), act.As, act.Verb, act.Arguments)
		var chosen, n int64
		if err := o.pool.QueryRow(ctx, o.schema.sql(sql), given...).Scan(&chosen, &n); err != nil {
			return dropped, withCause(fmt.Errorf("%s, after %d were dropped: %w", act.Verb, dropped, err))
		}
		if dropped += n; chosen < int64(some) { // some of those chosen may have gone meanwhile
			return dropped, nil
		}
	}
}

var (
	dropDeadSQL = pawlSQL(`
WITH chosen AS MATERIALIZED (
	SELECT d.id FROM pawl.dead_letters AS d` + deadFilter + `
), acted AS (
	DELETE FROM pawl.dead_letters AS d USING chosen AS c WHERE d.id = c.id RETURNING d.id
)` + auditSQL(10) + `
SELECT (SELECT count(*) FROM chosen), (SELECT count(*) FROM acted)`)

	dropParkedSQL = pawlSQL(`
WITH chosen AS MATERIALIZED (
	SELECT p.topic_id, p.partition, p."offset", p.scope FROM pawl.parked AS p` + parkedFilter + `
), acted AS (
	DELETE FROM pawl.parked AS p USING chosen AS c
	WHERE p.topic_id = c.topic_id AND p.partition = c.partition AND p."offset" = c."offset" AND p.scope = c.scope
	RETURNING p.seq AS id
)` + auditSQL(11) + `
SELECT (SELECT count(*) FROM chosen), (SELECT count(*) FROM acted)`)
)
