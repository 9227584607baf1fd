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
// the keys. It marks offsets once a poll is written and commits them in the
// background, as franz-go advises.
func runHandWritten(ctx context.Context, job Job, machine *statemachine.Machine, m *meter, goroutines int) error {
	pool, err := connect(ctx, job.DatabaseURL, goroutines)
	if err != nil {
		return err
	}
	defer pool.Close()
	client, err := kgo.NewClient(append(consume(job, m), kgo.AutoCommitMarks(), kgo.BlockRebalanceOnPoll())...)
	if err != nil {
		return fmt.Errorf("create the Kafka client: %w", err)
	}
	defer client.CloseAllowingRebalance()

	loop := loop{transactor{pool, machine}, m, goroutines, maphash.MakeSeed()}
	for ctx.Err() == nil {
		fetches := client.PollRecords(ctx, maxPoll)
		if err := fetches.Err0(); err != nil && ctx.Err() == nil {
			return fmt.Errorf("poll: %w", err)
		}
		records := fetches.Records()
		if err := loop.write(ctx, records); err != nil {
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

type loop struct {
	transactor
	meter      *meter
	goroutines int
	seed       maphash.Seed
}

// write writes the records, in order for each key.
func (l loop) write(ctx context.Context, records []*kgo.Record) error {
	shares := make([][]*kgo.Record, l.goroutines)
	for _, r := range records {
		i := maphash.Bytes(l.seed, r.Key) % uint64(l.goroutines)
		shares[i] = append(shares[i], r)
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, share := range shares {
		group.Go(func() error {
			for _, r := range share {
				if err := l.one(ctx, r); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func (l loop) one(ctx context.Context, r *kgo.Record) error {
	message, err := traffic.Decode(r.Value)
	if err != nil {
		return err
	}
	if err := l.apply(ctx, header(r, traffic.IDHeader), message); err != nil {
		return err
	}
	if sent := header(r, traffic.SentHeader); sent != "" {
		l.meter.committed([]byte(sent), time.Now())
	}
	l.meter.settle(1)
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
