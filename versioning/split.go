package versioning

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"

	"github.com/jackc/pgx/v5"
)

// Split deals records out to at most n lists, and at least one, that can be applied
// at the same time: records that share an entity, directly, through records with
// several changes, or through entities that ties name together, are in one list, in
// their order. Ties are those of parked records: see [Store.Split], which knows them.
// The records must have been through Prepare. The second result maps each list's
// records back: element i of list s is records[index[s][i]].
func Split(records []*Record, ties [][]Entity, n int) (lists [][]*Record, index [][]int) {
	n = max(n, 1)
	lists, index = make([][]*Record, n), make([][]int, n)
	groups := newGroups(records, ties)
	seed := maphash.MakeSeed()
	for i, r := range records {
		list := 0
		if len(r.Changes) > 0 {
			list = int(maphash.Comparable(seed, groups.of(r)) % uint64(n))
		}
		lists[list] = append(lists[list], r)
		index[list] = append(index[list], i)
	}
	return lists, index
}

// Split deals records out as the function [Split] does, with the database in mind.
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
func (s *Store) Split(ctx context.Context, records []*Record, n int) (lists [][]*Record, index [][]int, err error) {
	var ties [][]Entity
	if n > 1 {
		err = s.again(ctx, func(e *edition) error {
			e.renew(records)
			ties, err = e.ties(ctx, records)
			return err
		})
		if errors.Is(err, errInOneList) {
			n = 1
		} else if err != nil {
			return nil, nil, fmt.Errorf("read which parked records tie entities together: %w", throughPooler(err))
		}
	}
	lists, index = Split(records, ties, n)
	for _, r := range records {
		r.split = len(lists) > 1
	}
	return lists, index, nil
}

// errInOneList says that it can't be told which entities are tied together.
var errInOneList = errors.New("all records go into one list")

// ties returns the entities that parked records and constraints tie together.
func (s *edition) ties(ctx context.Context, records []*Record) ([][]Entity, error) {
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
func (s *edition) readTies(ctx context.Context, records []*Record) (ties [][]Entity, parked []*Record, err error) {
	batch := &pgx.Batch{} // sent as one transaction, which the settings are for
	batch.Queue(settingsSQL)
	batch.Queue(s.schema.sql(readTiesSQL), s.machines(), maxTies+1).Query(func(rows pgx.Rows) error {
		var machines, keys []string
		_, err := pgx.ForEachRow(rows, []any{&machines, &keys}, func() error {
			tie := make([]Entity, len(keys))
			for i := range keys {
				tie[i] = Entity{machines[i], keys[i]}
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
				parked = append(parked, &Record{})
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
func (s *edition) coupledEntities(records []*Record) (machines, keys texts) {
	if !slices.ContainsFunc(s.tables, (*table).coupled) {
		return nil, nil
	}
	seen := make(map[Entity]bool)
	for _, r := range records {
		for i := range r.changes() {
			if e := entityOf(r, i); !seen[e] {
				seen[e] = true
				machines, keys = append(machines, e.Machine), append(keys, e.Key)
			}
		}
	}
	return machines, keys
}

// groups joins the entities that records with several changes tie together: a
// forest of disjoint sets. It holds only entities that are tied to others.
type groups map[Entity]Entity

func newGroups(records []*Record, ties [][]Entity) groups {
	g := make(groups)
	for _, r := range records {
		for i := 1; i < len(r.Changes); i++ {
			g.join(entityOf(r, 0), entityOf(r, i))
		}
	}
	for _, tie := range ties {
		for i := 1; i < len(tie); i++ {
			g.join(tie[0], tie[i])
		}
	}
	return g
}

func (g groups) join(a, b Entity) {
	if a, b = g.find(a), g.find(b); a != b {
		g[b] = a
	}
}

// of returns the entity that stands for the group of a record.
func (g groups) of(r *Record) Entity { return g.find(entityOf(r, 0)) }

// find returns the root of an entity's tree, and halves the path on the way.
func (g groups) find(e Entity) Entity {
	for {
		parent, ok := g[e]
		if !ok {
			return e
		}
		if grand, ok := g[parent]; ok {
			g[e] = grand
		}
		e = parent
	}
}

func entityOf(r *Record, change int) Entity {
	return Entity{r.Changes[change].Machine, r.Changes[change].Key}
}
