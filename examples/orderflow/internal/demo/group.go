package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// pollEvery is the time between checks of the group, and pollDatabaseEvery between those of
// the database, which cost more.
const (
	pollEvery         = 20 * time.Millisecond
	pollDatabaseEvery = 250 * time.Millisecond
)

// patience is how long the group may make no progress, in addition to the
// session timeout of a killed worker.
const patience = 60 * time.Second

// A group is a consumer group as the broker sees it.
type group struct {
	admin *kadm.Client
	name  string
	topic string
}

// assignment returns the partitions of each member, by worker name.
func (g group) assignment(ctx context.Context) (map[string][]int32, error) {
	described, err := g.admin.DescribeGroups(ctx, g.name)
	if err != nil {
		return nil, err
	}
	byWorker := make(map[string][]int32)
	if described[g.name].State != "Stable" {
		return byWorker, nil
	}
	for _, m := range described[g.name].Members {
		if a, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range a.Topics {
				byWorker[m.ClientID] = append(byWorker[m.ClientID], t.Partitions...)
			}
		}
		slices.Sort(byWorker[m.ClientID])
	}
	return byWorker, nil
}

// committed returns the committed offset of each partition, or 0 if there is
// none. It equals the number of records that the group has finished there.
func (g group) committed(ctx context.Context) (map[int32]int64, error) {
	offsets, err := g.admin.FetchOffsetsForTopics(ctx, g.name, g.topic)
	if err != nil {
		return nil, err
	}
	done := make(map[int32]int64)
	for id, o := range offsets[g.topic] {
		if o.Err != nil {
			return nil, o.Err
		}
		done[id] = max(0, o.At)
	}
	return done, nil
}

// awaitShared waits until each worker has partitions and together they have
// all, and returns the assignment.
func (g group) awaitShared(ctx context.Context, workers ...string) (map[string][]int32, error) {
	var byWorker map[string][]int32
	err := await(ctx, "assign partitions to all workers", func(ctx context.Context) (progress int64, done bool, err error) {
		byWorker, err = g.assignment(ctx)
		total := 0
		for _, w := range workers {
			if len(byWorker[w]) == 0 {
				return 0, false, err
			}
			total += len(byWorker[w])
		}
		return 0, total == partitions, err
	})
	return byWorker, err
}

// awaitDone waits until the group has committed that many records.
func (g group) awaitDone(ctx context.Context, records int, show func(int64)) error {
	return await(ctx, fmt.Sprintf("consume all %d records", records), func(ctx context.Context) (int64, bool, error) {
		done, err := g.committed(ctx)
		total := sum(done)
		if err == nil {
			show(total)
		}
		return total, err == nil && total >= int64(records), err
	})
}

var errStuck = errors.New("the group made no progress")

// await calls check until it is done. It gives up if progress does not change
// for a while; until then it retries errors of check.
func await(ctx context.Context, what string, check func(context.Context) (progress int64, done bool, err error)) error {
	return awaitEvery(ctx, pollEvery, what, check)
}

func awaitEvery(ctx context.Context, every time.Duration, what string,
	check func(context.Context) (progress int64, done bool, err error),
) error {
	last, since := int64(-1), time.Now()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		progress, done, err := check(ctx)
		switch {
		case done && err == nil:
			return nil
		case err == nil && progress != last:
			last, since = progress, time.Now()
		case time.Since(since) > patience:
			return fmt.Errorf("%s: %w for %v", what, errors.Join(errStuck, err), patience)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func sum(m map[int32]int64) (total int64) {
	for _, n := range m {
		total += n
	}
	return total
}
