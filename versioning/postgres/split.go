package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
)

// Split distributes records like [versioning.Split], but also considers what the
// database ties together.
//
// A parked record with several entities is judged again when one of them moves, and
// then moves the others too. If another list moved these at the same time, the order of
// the log would be lost. If more such records are parked than are worth reading, all
// records go into one list.
//
// Foreign keys, unique indexes and exclusion constraints tie entities together too. An
// entity goes with the one that its row references, and with those that claim the same
// unique value. If the ties are unknown, for instance because a value may pass from one
// row to another, all records go into one list. Records parked for the entities count
// like those of the batch.
//
// Any error has the cause Infrastructure.
func (s *Store) Split(ctx context.Context, records []*versioning.Record, n int) (lists [][]*versioning.Record, index [][]int, err error) {
	var ties [][]versioning.Entity
	if n > 1 {
		err = s.retryAltered(ctx, func(e *snapshot) error {
			e.reprepare(records)
			ties, err = e.ties(ctx, records)
			return err
		})
		if errors.Is(err, errInOneList) {
			n = 1
		} else if err != nil {
			return nil, nil, withCause(fmt.Errorf("read which parked records tie entities together: %w", throughPooler(err)))
		}
	}
	lists, index = versioning.Split(records, ties, n)
	for _, r := range records {
		setSplit(r, len(lists) > 1)
	}
	return lists, index, nil
}

// errInOneList says that it is unknown which entities are tied together.
var errInOneList = errors.New("all records go into one list")

// ties returns the entities that parked records and constraints tie together.
func (s *snapshot) ties(ctx context.Context, records []*versioning.Record) ([][]versioning.Entity, error) {
	couples := s.couples(records)
	if couples.all {
		return nil, errInOneList
	}
	ties, parked, err := s.readTies(ctx, records)
	if err != nil {
		return nil, err
	}
	if len(parked) > 0 {
		if couples = s.couples(slices.Concat(records, parked)); couples.all {
			return nil, errInOneList
		}
	}
	return append(ties, couples.ties...), nil
}

// maxTies limits the parked records that are read for one batch.
const maxTies = 10_000

// readTiesSQL reads the entities of parked records of machines $1 with several changes.
const readTiesSQL pawlSQL = `
SELECT array(SELECT c->>'machine' FROM jsonb_array_elements(changes) WITH ORDINALITY AS e(c, n) ORDER BY n),
       array(SELECT c->>'key' FROM jsonb_array_elements(changes) WITH ORDINALITY AS e(c, n) ORDER BY n)
FROM pawl.parked WHERE jsonb_array_length(changes) > 1 AND machine = ANY ($1) LIMIT $2`

// readCoupledSQL reads the changes of the same records, and of records parked for the
// entities $4 of machines $3 or for other entities of those records.
const readCoupledSQL pawlSQL = `
WITH several AS (
	SELECT changes FROM pawl.parked WHERE jsonb_array_length(changes) > 1 AND machine = ANY ($1) LIMIT $2
), entities AS (
	SELECT u.machine, u.entity FROM unnest($3::text[], $4::text[]) AS u(machine, entity)
	UNION SELECT c->>'machine', c->>'key' FROM several, jsonb_array_elements(changes) AS c
)
SELECT changes FROM several
UNION ALL
SELECT p.changes FROM entities AS e CROSS JOIN LATERAL (
	SELECT changes FROM pawl.parked
	WHERE machine = e.machine AND entity = e.entity AND jsonb_array_length(changes) = 1 LIMIT $2 OFFSET 0
) AS p
WHERE EXISTS (SELECT FROM pawl.parked WHERE machine = ANY ($1)) -- without parked records, look up nothing
LIMIT $2`

// readTies returns the entities of each parked record that has several changes. If
// tables of the store have constraints that tie entities together, it also returns the
// records parked for the entities of the batch, with nothing but their changes.
func (s *snapshot) readTies(ctx context.Context, records []*versioning.Record) (ties [][]versioning.Entity, parked []*versioning.Record, err error) {
	batch := &pgx.Batch{} // sent as one transaction, to which the settings apply
	batch.Queue(settingsSQL)
	batch.Queue(s.schema.sql(readTiesSQL), s.machines(), maxTies+1).Query(func(rows pgx.Rows) error {
		var machines, keys []string
		_, err := pgx.ForEachRow(rows, []any{&machines, &keys}, func() error {
			tie := make([]versioning.Entity, len(keys))
			for i := range keys {
				tie[i] = versioning.Entity{Machine: machines[i], Key: keys[i]}
			}
			ties = append(ties, tie)
			return nil
		})
		return err
	})
	if machines, keys := s.coupledEntities(records); len(keys) > 0 {
		batch.Queue(s.schema.sql(readCoupledSQL), s.machines(), maxTies+1, machines, keys).Query(func(rows pgx.Rows) error {
			var changes []byte
			_, err := pgx.ForEachRow(rows, []any{&changes}, func() error {
				parked = append(parked, &versioning.Record{})
				return s.decodeChanges(parked[len(parked)-1], changes)
			})
			return err
		})
	}
	if err := s.pool.SendBatch(ctx, batch).Close(); err != nil {
		return nil, nil, err
	}
	if len(ties) > maxTies || len(parked) > maxTies {
		return nil, nil, errInOneList
	}
	return ties, parked, nil
}

// coupledEntities returns the entities of records, each once, if tables of the store
// have constraints that tie entities together.
func (s *snapshot) coupledEntities(records []*versioning.Record) (machines, keys texts) {
	if !slices.ContainsFunc(s.tables, (*table).coupled) {
		return nil, nil
	}
	seen := make(map[versioning.Entity]bool)
	for _, r := range records {
		for i := range changesOf(r) {
			if e := r.Entity(i); !seen[e] {
				seen[e] = true
				machines, keys = append(machines, e.Machine), append(keys, e.Key)
			}
		}
	}
	return machines, keys
}
