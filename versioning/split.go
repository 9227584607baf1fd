package versioning

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"

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
// are: where a value may be handed over from one row to another, for instance.
//
// Its error is one of infrastructure.
func (s *Store) Split(ctx context.Context, records []*Record, n int) (lists [][]*Record, index [][]int, err error) {
	couples := s.couples(records)
	if n <= 1 || couples.all {
		lists, index = Split(records, nil, 1)
		return lists, index, nil
	}
	ties, err := s.parkedTies(ctx)
	switch {
	case errors.Is(err, errTooMuchParked):
		n = 1
	case err != nil:
		return nil, nil, fmt.Errorf("read which parked records ask for several entities: %w", err)
	}
	lists, index = Split(records, append(ties, couples.ties...), n)
	return lists, index, nil
}

// maxTies bounds the parked records with several changes that are read for one batch.
const maxTies = 10_000

const readTiesSQL pawlSQL = `
SELECT array(SELECT c->>'machine' FROM jsonb_array_elements(changes) WITH ORDINALITY AS e(c, n) ORDER BY n),
       array(SELECT c->>'key' FROM jsonb_array_elements(changes) WITH ORDINALITY AS e(c, n) ORDER BY n)
FROM pawl.parked WHERE jsonb_array_length(changes) > 1 AND machine = ANY ($1) LIMIT $2`

// parkedTies returns the entities of each parked record that has several changes.
func (s *Store) parkedTies(ctx context.Context) (ties [][]Entity, err error) {
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
	if err := s.pool.SendBatch(ctx, batch).Close(); err != nil {
		return nil, err
	}
	if len(ties) > maxTies {
		return nil, errTooMuchParked
	}
	return ties, nil
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
