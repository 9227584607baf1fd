package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pawl-go/pawl/versioning"
)

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
	topics, partitions := make([]string, 0, len(from)), make([]int32, 0, len(from))
	for topic, ids := range from {
		for _, id := range ids {
			topics, partitions = append(topics, topic), append(partitions, id)
		}
	}
	rows, err := s.pool.Query(ctx, s.schema.sql(readUncopiedSQL), oneMessage, topics, partitions, limit)
	if err != nil {
		return 0, withCause(fmt.Errorf("read dead letters to copy: %w", err))
	}
	deadLetters, err := collectDeadLetters(rows)
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

// $1 topics, $2 their partitions, $3 limit
const readUncopiedSQL pawlSQL = deadColumns + `
WHERE d.copied_at IS NULL AND (d.topic, d.partition) IN (SELECT * FROM unnest($1::text[], $2::integer[]))
ORDER BY d.id LIMIT $3`

const markCopiedSQL pawlSQL = `UPDATE pawl.dead_letters SET copied_at = now() WHERE id = ANY ($1::bigint[])`
