package postgres

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
)

// A ParkedFilter selects parked records. The zero value selects all. All fields that
// are set must match.
type ParkedFilter struct {
	Reason  versioning.Reason
	Machine string
	Key     string // of the entity
	Topic   string
	From    time.Time // parked at this time or later
	To      time.Time // parked before this time

	// Limit limits how many records are returned. 0 means 100.
	Limit int
}

// Parked returns the parked records that match, in the order in which they were parked.
func (s *Store) Parked(ctx context.Context, f ParkedFilter) ([]versioning.ParkedRecord, error) {
	rows, err := s.pool.Query(ctx, s.schema.sql(listParkedSQL), oneMessage, string(f.Reason), f.Machine, f.Key, f.Topic,
		orNil(f.From), orNil(f.To), cmp.Or(max(f.Limit, 0), defaultLimit))
	var parked []versioning.ParkedRecord
	if err == nil {
		parked, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (versioning.ParkedRecord, error) {
			var at time.Time
			p, err := s.snapshot.Load().scanParked(row, &at)
			return versioning.ParkedRecord{Parked: p.Parked, ParkedAt: at}, err
		})
	}
	if err != nil {
		return nil, withCause(fmt.Errorf("list parked records: %w", err))
	}
	return parked, nil
}

// $1 reason, $2 machine, $3 entity, $4 topic, $5 from, $6 to, $7 limit
const listParkedSQL pawlSQL = parkedColumns + `, p.parked_at
FROM pawl.parked AS p
WHERE ($1 = '' OR p.reason = $1) AND ($2 = '' OR p.machine = $2) AND ($3 = '' OR p.entity = $3) AND ($4 = '' OR p.topic = $4)
  AND ($5::timestamptz IS NULL OR p.parked_at >= $5) AND ($6::timestamptz IS NULL OR p.parked_at < $6)
ORDER BY p.seq LIMIT $7`
