package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pawl-go/pawl/versioning"
)

// olderLimit limits the dead letters of one call of RedriveOlder.
const olderLimit = 100

// ownTopics are the topics whose records need no decode function.
var ownTopics = []string{
	pgtype.UUID{Bytes: versioning.DeliveryTopicID, Valid: true}.String(),
	pgtype.UUID{Bytes: versioning.TimerTopicID, Valid: true}.String(),
}

// RedriveOlder redrives dead letters that an older version of a machine has judged and that
// this one may judge otherwise, with [Store.Redrive]: those whose event was unknown or not legal, or
// had no branch. It redrives up to a hundred, and reports whether there may be more. It returns
// those that are no longer dead letters. Package consumer calls it.
//
// Only records that decode can decode are redriven: from has the partitions of their topics. A
// dead letter of a timer or of [Store.Deliver] is always redriven. Each dead letter is judged once
// by a version. One whose version is unknown, because it is older than version 7 of the schema, is
// left alone: use Redrive.
func (s *Store) RedriveOlder(ctx context.Context, from map[string][]int32, decode func(*versioning.Record) ([]versioning.Change, error)) (settled []versioning.Settled, more bool, err error) {
	var machines []string
	var versions []int32
	for _, t := range s.snapshot.Load().tables {
		machines, versions = append(machines, t.Machine.Name()), append(versions, int32(t.Machine.Version()))
	}
	topics, partitions := partitionsOf(from)
	letters, err := s.schema.readDeadLetters(ctx, s.pool, olderSQL, machines, versions, topics, partitions, ownTopics, olderLimit)
	if err != nil {
		return nil, false, withCause(fmt.Errorf("list the dead letters that an older definition has judged: %w", err))
	}
	if len(letters) == 0 {
		return nil, false, nil
	}
	outcomes, err := s.Redrive(ctx, letters, decode)
	for i, o := range outcomes {
		if !o.DeadLettered() && o.Verdict != versioning.Ignored {
			settled = append(settled, versioning.Settled{Record: letters[i].Record, Outcome: o})
		}
	}
	return settled, err == nil && len(letters) == olderLimit, err
}

// $1 machines, $2 their versions, $3 topics, $4 their partitions, $5 IDs of topics that need no decode, $6 limit
const olderSQL pawlSQL = deadColumns + `
JOIN unnest($1::text[], $2::integer[]) AS u(machine, version) ON d.machine = u.machine AND d.definition > 0 AND d.definition < u.version
WHERE d.reason IN ('unknown_event', 'illegal', 'no_branch')
  AND (d.topic_id = ANY ($5::uuid[]) OR (d.topic, d.partition) IN (SELECT * FROM unnest($3::text[], $4::integer[])))
ORDER BY d.id LIMIT $6`
