package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/versioning"
)

// A DeadLetterFilter selects dead letters. The zero value selects all. All fields that
// are set must match.
type DeadLetterFilter struct {
	IDs     []int64
	Reason  versioning.Reason
	Machine string
	Key     string // of the entity
	Topic   string
	From    time.Time // became a dead letter at this time or later
	To      time.Time // became a dead letter before this time

	// After skips dead letters with this ID or a lower one, and Limit limits how many
	// are returned: use them to page through a long list. Limit 0 means 100.
	After int64
	Limit int
}

// DeadLetters returns the dead letters that match, in ascending order of ID.
func (s *Store) DeadLetters(ctx context.Context, f DeadLetterFilter) ([]versioning.DeadLetter, error) {
	return s.schema.listDeadLetters(ctx, s.pool, f)
}

func (s *schema) listDeadLetters(ctx context.Context, pool *pgxpool.Pool, f DeadLetterFilter) ([]versioning.DeadLetter, error) {
	deadLetters, err := s.readDeadLetters(ctx, pool, listDeadSQL, f.args(cmp.Or(max(f.Limit, 0), defaultLimit))...)
	if err != nil {
		return nil, withCause(fmt.Errorf("list dead letters: %w", err))
	}
	return deadLetters, nil
}

// args returns the parameters of deadFilter.
func (f *DeadLetterFilter) args(limit int) []any {
	return []any{f.IDs, string(f.Reason), f.Machine, f.Key, f.Topic, orNil(f.From), orNil(f.To), f.After, limit}
}

const deadColumns pawlSQL = `
SELECT d.id, d.topic, d.topic_id, d.partition, d."offset", d.scope, d.verdict, d.reason, d.detail, d.machine, d.entity,
       d.event, d.attempts, d.died_at, d.key, d.value, d.headers, d."timestamp"
FROM pawl.dead_letters AS d`

const listDeadSQL pawlSQL = deadColumns + deadFilter

// $1 IDs, $2 reason, $3 machine, $4 entity, $5 topic, $6 from, $7 to, $8 after, $9 limit
const deadFilter = `
WHERE ($1::bigint[] IS NULL OR d.id = ANY ($1)) AND ($2 = '' OR d.reason = $2) AND ($3 = '' OR d.machine = $3)
  AND ($4 = '' OR d.entity = $4) AND ($5 = '' OR d.topic = $5)
  AND ($6::timestamptz IS NULL OR d.died_at >= $6) AND ($7::timestamptz IS NULL OR d.died_at < $7) AND d.id > $8
ORDER BY d.id LIMIT $9`

// readDeadLetters runs a query for deadColumns.
func (s *schema) readDeadLetters(ctx context.Context, pool *pgxpool.Pool, sql pawlSQL, args ...any) ([]versioning.DeadLetter, error) {
	rows, err := pool.Query(ctx, s.sql(sql), append([]any{oneMessage}, args...)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (versioning.DeadLetter, error) {
		l := versioning.DeadLetter{Record: &versioning.Record{}}
		r := l.Record
		var headers []byte
		var scope, verdict string
		err := row.Scan(&l.ID, &r.Origin.Topic, &r.Origin.TopicID, &r.Origin.Partition, &r.Origin.Offset,
			&scope, &verdict, &l.Outcome.Reason, &l.Outcome.Detail, &l.Outcome.Entity.Machine, &l.Outcome.Entity.Key,
			&l.Outcome.Event, &l.Attempts, &l.DiedAt, &r.Key, &r.Value, &headers, &r.Timestamp)
		if err != nil {
			return l, err
		}
		keptAs(r, scope)
		l.Outcome.Verdict = versioning.ParseVerdict(verdict)
		r.Headers, err = decodeHeaders(headers)
		return l, err
	})
}

// markTimeout limits how long it may take to mark dead letters as copied.
const markTimeout = 5 * time.Second

// CopyDeadLetters passes dead letters that were not copied yet to copyTo: up to limit
// of them, from the given partitions of topics, the oldest first. It marks those whose
// IDs copyTo returns as copied, even if copyTo also returns an error or ctx is done by
// then. It returns how many were copied.
//
// CopyDeadLetters holds no connection and no transaction while copyTo runs. So every
// dead letter is copied at least once: a concurrent caller for the same partitions gets
// the same dead letters, and so does a later one if the process dies before they are
// marked. Workers of one group pass the partitions that they own, so they copy a dead
// letter twice only if its partition is reassigned during the copy.
func (s *Store) CopyDeadLetters(ctx context.Context, from map[string][]int32, limit int,
	copyTo func(context.Context, []versioning.DeadLetter) (copied []int64, err error),
) (int, error) {
	topics, partitions := partitionsOf(from)
	deadLetters, err := s.schema.readDeadLetters(ctx, s.pool, readUncopiedSQL, topics, partitions, limit)
	if err != nil {
		return 0, withCause(fmt.Errorf("read dead letters to copy: %w", err))
	}
	if len(deadLetters) == 0 {
		return 0, nil
	}
	copied, err := copyTo(ctx, deadLetters)
	if err != nil {
		err = fmt.Errorf("copy dead letters: %w", err)
	}
	if len(copied) == 0 {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), markTimeout)
	defer cancel()
	if _, problem := s.pool.Exec(ctx, s.schema.sql(markCopiedSQL), oneMessage, copied); problem != nil {
		return 0, errors.Join(err, withCause(fmt.Errorf("mark dead letters as copied: %w", problem)))
	}
	return len(copied), err
}

// partitionsOf returns partitions of topics as columns.
func partitionsOf(from map[string][]int32) (topics []string, partitions []int32) {
	topics, partitions = make([]string, 0, len(from)), make([]int32, 0, len(from))
	for topic, ids := range from {
		for _, id := range ids {
			topics, partitions = append(topics, topic), append(partitions, id)
		}
	}
	return topics, partitions
}

// $1 topics, $2 their partitions, $3 limit
const readUncopiedSQL pawlSQL = deadColumns + `
WHERE d.copied_at IS NULL AND (d.topic, d.partition) IN (SELECT * FROM unnest($1::text[], $2::integer[]))
ORDER BY d.id LIMIT $3`

const markCopiedSQL pawlSQL = `UPDATE pawl.dead_letters SET copied_at = now() WHERE id = ANY ($1::bigint[])`
