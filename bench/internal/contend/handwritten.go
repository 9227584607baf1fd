package contend

import (
	"context"
	"fmt"
	"hash/maphash"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/pawl-go/pawl/bench/internal/traffic"
	"github.com/pawl-go/pawl/statemachine"
)

// maxPoll limits the records of one poll of the hand-written loop. It is large
// because the goroutines wait for each other at the end of a poll.
const maxPoll = 10_000

// runHandWritten is the loop people write by hand: franz-go, pgx, one
// transaction per message, and several goroutines that each handle a share of
// the keys.
func runHandWritten(ctx context.Context, job Job, machine *statemachine.Machine, m *meter, goroutines int) error {
	pool, err := connect(ctx, job.DatabaseURL, goroutines)
	if err != nil {
		return err
	}
	defer pool.Close()
	loop := loop{newTransactor(pool, machine), m}
	seed := maphash.MakeSeed()
	return eachPoll(ctx, job, m, maxPoll, func(ctx context.Context, records []*kgo.Record) error {
		return inShares(ctx, seed, goroutines, records, loop.write)
	})
}

// eachPoll consumes a topic and calls write with the records of each poll, of which there
// are at most limit. It marks offsets once a poll is written and commits them in the
// background, as franz-go advises.
func eachPoll(ctx context.Context, job Job, m *meter, limit int, write func(ctx context.Context, records []*kgo.Record) error) error {
	client, err := kgo.NewClient(append(consume(job, m), kgo.AutoCommitMarks(), kgo.BlockRebalanceOnPoll())...)
	if err != nil {
		return fmt.Errorf("create the Kafka client: %w", err)
	}
	defer client.CloseAllowingRebalance()
	for ctx.Err() == nil {
		fetches := client.PollRecords(ctx, limit)
		if err := fetches.Err0(); err != nil && ctx.Err() == nil {
			return fmt.Errorf("poll: %w", err)
		}
		records := fetches.Records()
		if err := write(ctx, records); err != nil {
			if ctx.Err() != nil {
				return nil // the time limit is reached
			}
			return err
		}
		client.MarkCommitRecords(records...)
		client.AllowRebalance()
	}
	return nil
}

func consume(job Job, m *meter) []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(job.Brokers...), kgo.ConsumerGroup(job.Group), kgo.ConsumeTopics(job.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.WithHooks(m),
	}
}

// inShares deals records by key, and calls write for each share in a goroutine.
func inShares(
	ctx context.Context, seed maphash.Seed, n int, records []*kgo.Record, write func(ctx context.Context, records []*kgo.Record) error,
) error {
	shares := make([][]*kgo.Record, n)
	for _, r := range records {
		i := maphash.Bytes(seed, r.Key) % uint64(n)
		shares[i] = append(shares[i], r)
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, share := range shares {
		if len(share) > 0 {
			group.Go(func() error { return write(ctx, share) })
		}
	}
	return group.Wait()
}

type loop struct {
	transactor
	meter *meter
}

// write writes records, one after another.
func (l *loop) write(ctx context.Context, records []*kgo.Record) error {
	for _, r := range records {
		message, err := traffic.Decode(r.Value)
		if err != nil {
			return err
		}
		if err := l.apply(ctx, header(r, traffic.IDHeader), &message); err != nil {
			return err
		}
		if sent := header(r, traffic.SentHeader); sent != "" {
			l.meter.committed([]byte(sent), time.Now())
		}
		l.meter.settle(1)
	}
	return nil
}

func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}
