package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pawl-go/pawl/versioning"
)

// markTimeout bounds how long it may take to note which dead letters were copied.
const markTimeout = 5 * time.Second

// CopyDeadLetters hands up to limit dead letters of the given topics' partitions, the
// oldest first, that were not copied yet to copyTo, and notes as copied those whose
// IDs it returns, also when it returns an error, or ctx is done by then. It returns how
// many were copied.
//
// No connection and no transaction is held while copyTo runs. So a copy is made at
// least once: another caller for the same partitions gets the same letters meanwhile,
// and they are handed out again if the process dies before they are noted. Workers of
// one group do not copy twice, but for what is under way when a partition changes
// hands: each gives the partitions that it reads.
func (s *Store) CopyDeadLetters(ctx context.Context, from map[string][]int32, limit int,
	copyTo func(context.Context, []versioning.DeadLetter) (copied []int64, err error),
) (int, error) {
	topics, partitions := make([]string, 0, len(from)), make([]int32, 0, len(from))
	for topic, ids := range from {
		for _, id := range ids {
			topics, partitions = append(topics, topic), append(partitions, id)
		}
	}
	rows, err := s.pool.Query(ctx, s.schema.sql(readUncopiedSQL), alone, topics, partitions, limit)
	if err != nil {
		return 0, withCause(fmt.Errorf("read dead letters to copy: %w", err))
	}
	letters, err := collectDeadLetters(rows)
	if err != nil {
		return 0, withCause(fmt.Errorf("read dead letters to copy: %w", err))
	}
	if len(letters) == 0 {
		return 0, nil
	}
	copied, err := copyTo(ctx, letters)
	if err != nil {
		err = fmt.Errorf("copy dead letters: %w", err)
	}
	if len(copied) == 0 {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), markTimeout)
	defer cancel()
	if _, problem := s.pool.Exec(ctx, s.schema.sql(markCopiedSQL), alone, copied); problem != nil {
		return 0, errors.Join(err, withCause(fmt.Errorf("note dead letters as copied: %w", problem)))
	}
	return len(copied), err
}

// $1 topics, $2 their partitions, $3 limit
const readUncopiedSQL pawlSQL = deadColumns + `
WHERE d.copied_at IS NULL AND (d.topic, d.partition) IN (SELECT * FROM unnest($1::text[], $2::integer[]))
ORDER BY d.id LIMIT $3`

const markCopiedSQL pawlSQL = `UPDATE pawl.dead_letters SET copied_at = now() WHERE id = ANY ($1::bigint[])`
