package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/kgorecord"
	"github.com/pawl-go/pawl/internal/pace"
	"github.com/pawl-go/pawl/versioning"
)

// A batch is what one poll has returned.
type batch struct {
	records []*versioning.Record
	next    map[partition]int64 // where each partition goes on after it
}

// A partition is one of a topic.
type partition struct {
	topic string
	id    int32
}

const (
	fetchMaxBytes    = 4 << 20   // as in package consumer
	maxUnpackedBatch = 256 << 20 // as in package consumer
	fetchMaxWait     = 500 * time.Millisecond
)

// open returns a client that reads the rest of the ranges.
func (c *Config) open(ranges []Range) (*kgo.Client, error) {
	parts := make(map[string]map[int32]kgo.Offset)
	for _, r := range ranges {
		if r.done() {
			continue
		}
		if parts[r.Topic] == nil {
			parts[r.Topic] = make(map[int32]kgo.Offset)
		}
		parts[r.Topic][r.Partition] = kgo.NewOffset().At(r.Next)
	}
	opts := []kgo.Opt{
		kgo.FetchMaxWait(fetchMaxWait), kgo.FetchMaxBytes(fetchMaxBytes), kgo.MaxDecompressBatchBytes(maxUnpackedBatch),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
	}
	opts = append(opts, c.Client...)
	// Without a reset, what retention removes before it is read is an error, and not skipped.
	client, err := kgo.NewClient(append(opts, kgo.ConsumePartitions(parts), kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.KeepControlRecords())...)
	if err != nil {
		return nil, fmt.Errorf("%w: Client: %w", ErrConfig, err)
	}
	return client, nil
}

// A reader reads and decodes the rest of the ranges. It belongs to one goroutine.
type reader struct {
	cfg     *Config
	client  *kgo.Client
	prepare func(*versioning.Record)
	left    map[partition]*Range // copies, with Next ahead of what was applied
	heard   time.Time            // when the last records arrived
}

func newReader(c *Config, client *kgo.Client, ranges []Range, prepare func(*versioning.Record)) *reader {
	r := &reader{cfg: c, client: client, prepare: prepare, left: make(map[partition]*Range), heard: time.Now()}
	for _, of := range ranges {
		if !of.done() {
			r.left[partition{of.Topic, of.Partition}] = &of
		}
	}
	return r
}

// run sends batches until all ranges are read.
func (r *reader) run(ctx context.Context, to chan<- *batch) error {
	for len(r.left) > 0 {
		b, err := r.read(ctx)
		if err != nil {
			return err
		}
		if len(b.next) == 0 {
			continue
		}
		select {
		case to <- b:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// read returns the next batch, which may be empty.
func (r *reader) read(ctx context.Context) (*batch, error) {
	polling, cancel := context.WithTimeout(ctx, quietFor)
	defer cancel()
	fetches := r.client.PollRecords(polling, r.cfg.MaxBatch)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var failed error
	fetches.EachError(func(topic string, id int32, err error) {
		if errors.Is(err, context.DeadlineExceeded) { // of polling
			return
		}
		if errors.Is(err, kerr.OffsetOutOfRange) {
			err = fmt.Errorf("its records were deleted before they were read; begin a new replay: %w", err)
		}
		failed = errors.Join(failed, fmt.Errorf("%w: partition %d of topic %q: %w", ErrTopic, id, topic, err))
	})
	if failed != nil {
		return nil, failed
	}
	b := &batch{next: make(map[partition]int64)}
	records := make([]*kgo.Record, 0, fetches.NumRecords())
	var ids [][16]byte // of the records' topics
	for _, fetch := range fetches {
		for _, t := range fetch.Topics {
			id := kgorecord.TopicID(t.Topic, t.TopicID)
			if err := r.checkID(t.Topic, uuid(id)); err != nil {
				return nil, err
			}
			for _, p := range t.Partitions {
				some := r.take(b, partition{t.Topic, p.Partition}, p.Records)
				records, ids = append(records, some...), append(ids, slices.Repeat([][16]byte{id}, len(some))...)
			}
		}
	}
	maker := kgorecord.NewMaker(records, r.cfg.Decode, r.prepare)
	b.records = make([]*versioning.Record, len(records))
	for i, k := range records {
		b.records[i] = maker.Make(k, ids[i])
		if err := r.whileTroubled(ctx, maker, b.records[i]); err != nil {
			return nil, err
		}
	}
	if len(b.next) > 0 {
		r.heard = time.Now()
		return b, nil
	}
	return b, r.probe(ctx, b)
}

// whileTroubled decodes a record again until that is no longer in trouble, or has been for too
// long.
func (r *reader) whileTroubled(ctx context.Context, maker *kgorecord.Maker, rec *versioning.Record) error {
	if rec.Trouble() == nil {
		return nil
	}
	waits := pace.Growing(shortestRetry, longestRetry)
	for began := time.Now(); rec.Trouble() != nil; maker.Decode(rec) {
		if time.Since(began) > retryFor {
			return fmt.Errorf("decode %s: %w", rec.Origin, rec.Err)
		}
		r.cfg.Logger.Warn("a record can't be decoded; trying again", "record", rec.Origin.String(), "error", rec.Err)
		if !pace.Sleep(ctx, waits.NextBackOff()) {
			return errors.Join(rec.Err, ctx.Err())
		}
	}
	return nil
}

// take returns those of a partition's records that are to be read.
func (r *reader) take(b *batch, at partition, records []*kgo.Record) []*kgo.Record {
	left := r.left[at]
	if left == nil || len(records) == 0 { // it has been read to its end
		return nil
	}
	n := len(records)
	left.Next = records[n-1].Offset + 1
	if left.done() {
		n, _ = slices.BinarySearchFunc(records, left.End, func(k *kgo.Record, end int64) int { return cmp.Compare(k.Offset, end) })
		left.Next = left.End
		delete(r.left, at)
		r.client.PauseFetchPartitions(map[string][]int32{at.topic: {at.id}})
	}
	b.next[at] = left.Next
	return records[:n]
}

var errCreatedAgain = fmt.Errorf("%w: it was deleted and created again since the replay began; begin a new replay", ErrTopic)

// checkID returns an error if a topic was deleted and created again.
func (r *reader) checkID(topic, id string) error {
	for at, left := range r.left {
		if at.topic == topic && left.TopicID != id {
			return errCreatedAgain
		}
	}
	return nil
}
