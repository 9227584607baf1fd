package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

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
