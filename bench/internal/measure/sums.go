package measure

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/bench/internal/traffic"
)

// An entityRow is what a contender has left of an entity.
type entityRow struct {
	version int64
	sums    traffic.Sums
}

// verifySums checks that the columns of each row are what the entity's first events add up
// to: as many events as the row has had steps.
func (s *server) verifySums(ctx context.Context, database string, columns []string, events iter.Seq[traffic.Event]) error {
	if len(columns) == 0 {
		return nil
	}
	conn, err := pgx.Connect(ctx, s.urlOf(database))
	if err != nil {
		return fmt.Errorf("connect to %s: %w", database, err)
	}
	all := make(map[string]*entityRow)
	var id string
	var one entityRow
	into := []any{&id, &one.version}
	for i := range columns {
		into = append(into, &one.sums[i])
	}
	rows, err := conn.Query(ctx, "SELECT id, version, "+strings.Join(columns, ", ")+" FROM orders")
	if err == nil {
		_, err = pgx.ForEachRow(rows, into, func() error {
			row := one
			all[id] = &row
			return nil
		})
	}
	if err = errors.Join(err, conn.Close(ctx)); err != nil {
		return fmt.Errorf("read the sums: %w", err)
	}
	return addUp(all, events)
}

// addUp takes off each row what its events have added. It changes the rows.
func addUp(all map[string]*entityRow, events iter.Seq[traffic.Event]) error {
	for e := range events {
		if row := all[e.Key]; row != nil && row.version > 0 {
			row.version--
			row.sums.Add(e.Name, -e.Amount)
		}
	}
	for id, row := range all {
		if *row != (entityRow{}) {
			return fmt.Errorf("the columns of %s are not what its events add up to: too much by %v, and %d steps too many", id, row.sums, row.version)
		}
	}
	return nil
}
