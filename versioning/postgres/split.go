package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
)

// Split deals records out as [versioning.Split] does, with the database in mind.
//
// A parked record that asks for several entities is judged again when one of them
// moves, and moves the others. Were they moved by other lists at the same time, the
// order of the log would be lost. Where more such records are parked than it is worth
// to look at, all the records are in one list.
//
// Foreign keys, unique indexes and exclusion constraints tie entities together too:
// an entity goes with the one that its row names, and with those that want the same
// unique value. All the records are in one list where it can't be told which these
// are: where a value may be handed over from one row to another, for instance. The
// records that are parked for the entities count like those of the batch.
//
// Its error is one of infrastructure.
func (s *Store) Split(ctx context.Context, records []*versioning.Record, n int) (lists [][]*versioning.Record, index [][]int, err error) {
	var ties [][]versioning.Entity
	if n > 1 {
		err = s.again(ctx, func(e *edition) error {
			e.renew(records)
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

// errInOneList says that it can't be told which entities are tied together.
var errInOneList = errors.New("all records go into one list")

// ties returns the entities that parked records and constraints tie together.
func (s *edition) ties(ctx context.Context, records []*versioning.Record) ([][]versioning.Entity, error) {
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

// maxTies bounds the parked records that are read for one batch.
const maxTies = 10_000

// readTiesSQL reads the entities of parked records of machines $1 with several changes.
const readTiesSQL pawlSQL = `
SELECT array(SELECT c->>'machine' FROM jsonb_array_elements(changes) WITH ORDINALITY AS e(c, n) ORDER BY n),
       array(SELECT c->>'key' FROM jsonb_array_elements(changes) WITH ORDINALITY AS e(c, n) ORDER BY n)
FROM pawl.parked WHERE jsonb_array_length(changes) > 1 AND machine = ANY ($1) LIMIT $2`

// readCoupledSQL reads the changes of the same, and of those that are parked for the
// entities $4 of machines $3, or for others of theirs.
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
WHERE EXISTS (SELECT FROM pawl.parked WHERE machine = ANY ($1)) -- or else nothing is looked up
LIMIT $2`

// readTies returns the entities of each parked record that has several changes. Where
// tables of the store have constraints that tie entities together, it returns the
// records that are parked for those of the batch, too: their changes are all of them.
func (s *edition) readTies(ctx context.Context, records []*versioning.Record) (ties [][]versioning.Entity, parked []*versioning.Record, err error) {
	batch := &pgx.Batch{} // sent as one transaction, which the settings are for
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

// coupledEntities returns the entities of records, each once, if tables of the store have
// constraints that tie entities together.
func (s *edition) coupledEntities(records []*versioning.Record) (machines, keys texts) {
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
