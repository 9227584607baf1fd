package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
)

// DeadLetters is like [Store.DeadLetters].
func (o *Operator) DeadLetters(ctx context.Context, f DeadLetterFilter) ([]versioning.DeadLetter, error) {
	return o.schema.listDeadLetters(ctx, o.pool, f)
}

// Unsent is like [Store.Unsent].
func (o *Operator) Unsent(ctx context.Context, f UnsentFilter) ([]versioning.UnsentMessage, error) {
	return o.schema.listUnsent(ctx, o.pool, f)
}

// A ParkedQuery selects parked records for an [Operator]. The zero value selects all. All fields
// that are set must match.
type ParkedQuery struct {
	IDs     []int64
	Reason  versioning.Reason
	Machine string
	Key     string // of the entity
	Topic   string
	From    time.Time // parked at this time or later
	To      time.Time // parked before this time

	// AfterTime and AfterID are ParkedAt and ID of a record: that one, and those before it, are
	// skipped. Limit limits how many are returned. Use them to page through a long list. Limit 0
	// means 100.
	AfterTime time.Time
	AfterID   int64
	Limit     int
}

// A ParkedItem is a parked record as an operator sees it: the columns of its changes are text, and
// their Data is a json.RawMessage, because only the application has their types. It can't be given
// to a store.
type ParkedItem struct {
	versioning.ParkedRecord

	ID int64 // column seq: the order in which records were parked
}

// Parked returns the parked records that match, those that have waited longest first. To find some
// by ID, it may have to read all parked records.
func (o *Operator) Parked(ctx context.Context, q ParkedQuery) ([]ParkedItem, error) {
	rows, err := o.pool.Query(ctx, o.schema.sql(queryParkedSQL), append([]any{oneMessage}, q.args(cmp.Or(max(q.Limit, 0), defaultLimit))...)...)
	var all []ParkedItem
	if err == nil {
		all, err = pgx.CollectRows(rows, scanParkedItem)
	}
	if err != nil {
		return nil, withCause(fmt.Errorf("list parked records: %w", err))
	}
	return all, nil
}

// args returns the parameters of parkedFilter.
func (q *ParkedQuery) args(limit int) []any {
	return []any{q.IDs, string(q.Reason), q.Machine, q.Key, q.Topic, orNil(q.From), orNil(q.To), orNil(q.AfterTime), q.AfterID, limit}
}

// $1 IDs, $2 reason, $3 machine, $4 entity, $5 topic, $6 from, $7 to, $8 after this time, $9 and ID, $10 limit
const (
	queryParkedSQL pawlSQL = parkedColumns + `, p.parked_at
FROM pawl.parked AS p` + parkedFilter

	parkedFilter = `
WHERE ($1::bigint[] IS NULL OR p.seq = ANY ($1)) AND ($2 = '' OR p.reason = $2) AND ($3 = '' OR p.machine = $3)
  AND ($4 = '' OR p.entity = $4) AND ($5 = '' OR p.topic = $5)
  AND ($6::timestamptz IS NULL OR p.parked_at >= $6) AND ($7::timestamptz IS NULL OR p.parked_at < $7)
  AND ($8::timestamptz IS NULL OR p.parked_at >= $8 AND (p.parked_at, p.seq) > ($8, $9::bigint))
ORDER BY p.parked_at, p.seq LIMIT $10`
)

func scanParkedItem(row pgx.CollectableRow) (p ParkedItem, err error) {
	p.Record = &versioning.Record{}
	r := p.Record
	var scope string
	var changes, headers []byte
	err = row.Scan(&r.Origin.Topic, &r.Origin.TopicID, &r.Origin.Partition, &r.Origin.Offset, &scope, &p.ID,
		&p.Entity.Machine, &p.Entity.Key, &p.Reason, &p.Seen, &p.Definition, &changes, &r.Key, &r.Value, &headers, &r.Timestamp, &p.ParkedAt)
	if err != nil {
		return p, err
	}
	if r.Headers, err = decodeHeaders(headers); err != nil {
		return p, err
	}
	var stored []storedChange
	if err := json.Unmarshal(changes, &stored); err != nil {
		return p, fmt.Errorf("stored changes: %w", err)
	}
	for i := range stored {
		c := stored[i].change()
		if len(stored[i].Set) > 0 {
			c.Set = stored[i].columns()
		}
		if stored[i].Data != nil {
			c.Data = stored[i].Data
		}
		r.Changes = append(r.Changes, c)
	}
	return p, nil
}

// maxTimersLooked limits the rows of table timers, each of which may have many timers, that are
// looked at for one entity.
const maxTimersLooked = 20_000

// Timers returns the timers that match, in the order in which they are due. Of a machine with very
// many timers it looks only at those that are due first; then more is true.
func (o *Operator) Timers(ctx context.Context, f TimerFilter) (timers []ArmedTimer, more bool, err error) {
	limit := cmp.Or(max(f.Limit, 0), defaultLimit)
	looked := limit
	if f.Key != "" {
		looked = maxTimersLooked
	}
	rows, err := o.pool.Query(ctx, o.schema.sql(queryTimersSQL), oneMessage, f.Machine, f.Key, string(f.Event), orNil(f.To), looked, limit)
	var all []ArmedTimer
	if err == nil {
		all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (t ArmedTimer, err error) {
			err = row.Scan(&more, &t.Entity.Machine, &t.Entity.Key, &t.Event, &t.Version, &t.Due, &t.Tries)
			return t, err
		})
	}
	if err != nil {
		return nil, false, withCause(fmt.Errorf("list timers: %w", err))
	}
	if f.Key != "" && len(all) == 0 { // no row says whether there were more
		err = o.pool.QueryRow(ctx, o.schema.sql(manyTimersSQL), oneMessage, f.Machine, looked).Scan(&more)
	}
	return all, more && f.Key != "", withCause(err)
}

// $1 machine, $2 entity, $3 event, $4 to, $5 rows to look at, of each machine, $6 limit
//
// A row has a timer that is due when the row is, so the first $6 timers are in the first $6 rows.
const queryTimersSQL pawlSQL = `
WITH RECURSIVE machines AS (
	SELECT min(machine) AS machine FROM pawl.timers WHERE $1 = '' OR machine = $1
	UNION ALL
	SELECT (SELECT min(t.machine) FROM pawl.timers AS t WHERE t.machine > m.machine AND ($1 = '' OR t.machine = $1)) FROM machines AS m WHERE m.machine IS NOT NULL
)
SELECT t.looked = $5, t.machine, u.entity, t.event, u.version, coalesce(u.due, t.due), t.tries
FROM machines AS m
CROSS JOIN LATERAL (
	SELECT *, count(*) OVER () AS looked FROM (
		SELECT * FROM pawl.timers WHERE machine = m.machine AND ($3 = '' OR event = $3) ORDER BY due, id LIMIT $5
	) AS first
) AS t
CROSS JOIN LATERAL unnest(t.entities, t.versions, t.dues) AS u(entity, version, due)
WHERE ($2 = '' OR $2 = ANY (t.entities) AND u.entity = $2) AND ($4::timestamptz IS NULL OR coalesce(u.due, t.due) < $4)
ORDER BY coalesce(u.due, t.due), t.id, u.entity LIMIT $6`

const manyTimersSQL pawlSQL = `
SELECT count(*) = $2 FROM (SELECT FROM pawl.timers WHERE $1 = '' OR machine = $1 LIMIT $2) AS t`
