package postgres

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// dropAtOnce limits the rows that one transaction drops.
const dropAtOnce = 1000

// DropDeadLetters deletes the dead letters that match, in ascending order of ID, and records in the
// table audit which ones, a thousand in a transaction. It returns how many there were. The filter's
// Limit limits them; 0 means no limit. Without To, those are left that arrive meanwhile. The role needs SELECT and DELETE on table dead_letters, and
// INSERT on table audit; without that, the error is [ErrAudit].
//
// The records are gone for good: if one of them is delivered again, it is judged as a new one.
func (o *Operator) DropDeadLetters(ctx context.Context, act Act, f DeadLetterFilter) (int64, error) {
	return o.drop(ctx, &act, dropDeadSQL, f.Limit, &f.To, func(limit int, last int64) []any {
		f.After = max(f.After, last)
		return f.args(limit)
	})
}

// DropParked deletes the parked records that match, those that have waited longest first, like
// [Operator.DropDeadLetters]. A record that a worker settles meanwhile is left to it.
func (o *Operator) DropParked(ctx context.Context, act Act, q ParkedQuery) (int64, error) {
	return o.drop(ctx, &act, dropParkedSQL, q.Limit, &q.To, func(limit int, _ int64) []any { return q.args(limit) })
}

// drop drops what a filter chooses. to is the filter's end, and args returns its parameters, for at
// most so many rows, after a last one.
func (o *Operator) drop(ctx context.Context, act *Act, sql pawlSQL, limit int, to *time.Time, args func(limit int, last int64) []any) (dropped int64, err error) {
	if err := o.schema.checkAudit(ctx, o.pool, act); err != nil {
		return 0, err
	}
	if to.IsZero() { // what comes meanwhile is not dropped
		if *to, err = o.Now(ctx); err != nil {
			return 0, err
		}
	}
	for last := int64(0); ; {
		some := dropAtOnce
		if limit > 0 {
			some = min(some, limit-int(dropped))
		}
		if some == 0 {
			return dropped, nil
		}
		chosen, n, err := o.dropSome(ctx, act, sql, &last, args(some, last))
		if err != nil {
			return dropped, withCause(fmt.Errorf("%s, after %d were dropped: %w", act.Verb, dropped, err))
		}
		if dropped += n; chosen < int64(some) { // some of those chosen may have gone meanwhile
			return dropped, nil
		}
	}
}

// dropSome drops rows in one transaction. It returns how many the filter has chosen, and how many
// of them were still there, and sets the last one chosen.
func (o *Operator) dropSome(ctx context.Context, act *Act, sql pawlSQL, last *int64, args []any) (chosen, dropped int64, err error) {
	err = pgx.BeginFunc(ctx, o.pool, func(tx pgx.Tx) error {
		var ids []int64
		if err := tx.QueryRow(ctx, o.schema.sql(sql), append([]any{oneMessage}, args...)...).Scan(&chosen, last, &ids); err != nil || len(ids) == 0 {
			return err
		}
		dropped = int64(len(ids))
		_, err := tx.Exec(ctx, o.schema.sql(insertAuditSQL), append([]any{oneMessage}, act.args(ids)...)...)
		return err
	})
	return chosen, dropped, err
}

const (
	dropDeadSQL pawlSQL = `
WITH chosen AS MATERIALIZED (
	SELECT d.id FROM pawl.dead_letters AS d` + deadFilter + `
), dropped AS (
	DELETE FROM pawl.dead_letters AS d USING chosen AS c WHERE d.id = c.id RETURNING d.id
)
SELECT (SELECT count(*) FROM chosen), coalesce((SELECT max(id) FROM chosen), 0), ARRAY(SELECT id FROM dropped)`

	dropParkedSQL pawlSQL = `
WITH chosen AS MATERIALIZED (
	SELECT p.topic_id, p.partition, p."offset", p.scope FROM pawl.parked AS p` + parkedFilter + `
), dropped AS (
	DELETE FROM pawl.parked AS p USING chosen AS c
	WHERE p.topic_id = c.topic_id AND p.partition = c.partition AND p."offset" = c."offset" AND p.scope = c.scope
	RETURNING p.seq AS id
)
SELECT (SELECT count(*) FROM chosen), 0::bigint, ARRAY(SELECT id FROM dropped)`

	countMatchingDeadSQL pawlSQL = `SELECT count(*) FROM (SELECT FROM pawl.dead_letters AS d` + deadFilter + `) AS t`

	countMatchingParkedSQL pawlSQL = `SELECT count(*) FROM (SELECT FROM pawl.parked AS p` + parkedFilter + `) AS t`
)

// CountDeadLetters counts the dead letters that match, up to the filter's Limit; 0 means 10,000.
func (o *Operator) CountDeadLetters(ctx context.Context, f DeadLetterFilter) (Count, error) {
	return o.countMatches(ctx, countMatchingDeadSQL, f.Limit, f.args)
}

// CountParked counts the parked records that match, like [Operator.CountDeadLetters].
func (o *Operator) CountParked(ctx context.Context, q ParkedQuery) (Count, error) {
	return o.countMatches(ctx, countMatchingParkedSQL, q.Limit, q.args)
}

func (o *Operator) countMatches(ctx context.Context, sql pawlSQL, limit int, args func(limit int) []any) (c Count, err error) {
	limit = cmp.Or(max(limit, 0), countedKept)
	if err := o.pool.QueryRow(ctx, o.schema.sql(sql), append([]any{oneMessage}, args(limit)...)...).Scan(&c.N); err != nil {
		return c, withCause(fmt.Errorf("count what is kept: %w", err))
	}
	c.AtLeast = c.N == int64(limit)
	return c, nil
}

// Now returns the time by the database's clock.
func (o *Operator) Now(ctx context.Context) (now time.Time, err error) {
	if err := o.pool.QueryRow(ctx, `SELECT clock_timestamp()`, oneMessage).Scan(&now); err != nil {
		return now, withCause(fmt.Errorf("read the database's clock: %w", err))
	}
	return now, nil
}
