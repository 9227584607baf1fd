package postgres

import (
	"context"
	"fmt"

	"github.com/pawl-go/pawl/versioning"
)

// olderLimit limits the dead letters of one call of RedriveOlder.
const olderLimit = 100

// RedriveOlder redrives dead letters that an older version of a machine has judged and that
// this one may judge otherwise, with [Store.Redrive]: those whose event was unknown or not legal, or
// had no branch. It redrives up to a hundred, and reports whether there may be more. It returns
// those that are no longer dead letters. Package consumer calls it.
func (s *Store) RedriveOlder(ctx context.Context, decode func(*versioning.Record) ([]versioning.Change, error)) (settled []versioning.Settled, more bool, err error) {
	var machines []string
	var versions []int32
	for _, t := range s.snapshot.Load().tables {
		machines, versions = append(machines, t.Machine.Name()), append(versions, int32(t.Machine.Version()))
	}
	letters, err := s.readDeadLetters(ctx, olderSQL, machines, versions, olderLimit)
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

const olderSQL pawlSQL = deadColumns + `
JOIN unnest($1::text[], $2::integer[]) AS u(machine, version) ON d.machine = u.machine AND d.definition < u.version
WHERE d.reason IN ('unknown_event', 'illegal', 'no_branch') ORDER BY d.id LIMIT $3`
