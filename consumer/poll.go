package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/kgorecord"
	"github.com/pawl-go/pawl/internal/pace"
)

// A poller polls batches of records. It belongs to the goroutine of Run.
type poller struct {
	*shared

	gates    gates
	unpacker *unpacker // shared with the client
	failing  pause     // between fetches that return only errors
}

// poll waits for records. It blocks rebalances until it has stored the tenure of each
// partition that it got records from, so no partition is taken away in between.
func (p *poller) poll(ctx context.Context) (*batch, error) {
	defer p.client.AllowRebalance()
	fetches := p.client.PollRecords(ctx, p.cfg.MaxBatch)
	failed, err := p.fetchErrors(ctx, fetches)
	if err != nil {
		return nil, err
	}
	b := p.gather(fetches)
	p.unpacker.polled(b.kafka, p.client.BufferedFetchRecords())
	if len(b.kafka) > 0 {
		p.failing.over()
	} else if failed { // without a pause, the client would fetch again at once
		p.client.AllowRebalance()
		p.failing.wait(ctx)
	}
	return b, nil
}

// gather makes a batch of the fetched records. It does not merge the fetches by topic: a
// topic may appear twice, from two brokers, and with two UUIDs if it was just re-created.
func (p *poller) gather(fetches kgo.Fetches) *batch {
	b := &batch{kafka: make([]*kgo.Record, 0, fetches.NumRecords())}
	var fetched []kgo.FetchPartition // one for each span
	for _, fetch := range fetches {
		for _, t := range fetch.Topics {
			id := kgorecord.TopicID(t.Topic, t.TopicID)
			for _, p := range t.Partitions {
				if len(p.Records) > 0 {
					b.add(partition{t.Topic, p.Partition}, id, p)
					fetched = append(fetched, p)
				}
			}
		}
	}
	if len(fetched) == 0 {
		return b
	}
	for _, jump := range p.partitions.arrive(b.spans, fetched) {
		p.log.jump(jump)
	}
	p.vitals.fetched()
	return b
}

// fetchErrors handles the errors of a fetch. failed reports whether there were any; err is
// the one that ends the run, or nil.
func (p *poller) fetchErrors(ctx context.Context, fetches kgo.Fetches) (failed bool, err error) {
	recreated := make(map[string]bool)
	fetches.EachError(func(topic string, id int32, problem error) {
		switch {
		case errors.Is(problem, context.Canceled), errors.Is(problem, context.DeadlineExceeded):
			return // the poll ended
		case errors.Is(problem, errFull):
			return // the client fetches the records again
		case errors.Is(problem, kgo.ErrClientClosed):
			err = fmt.Errorf("consume: %w", problem)
			return
		case errors.Is(problem, kerr.UnknownTopicID):
			recreated[topic] = true
		}
		if errors.Is(problem, kgo.ErrMaxDecompress) {
			p.partitions.cantUnpack(partition{topic, id}, problem)
			p.log.cantUnpack(topic, id, problem)
			return // the client has stopped fetching the partition
		}
		failed = true
		p.vitals.failedToFetch(partition{topic, id}.String(), problem)
		p.log.fetch(topic, id, problem)
		err = errors.Join(err, p.fatal(problem, topic))
	})
	for topic := range recreated {
		p.readRecreated(topic)
	}
	if len(recreated) > 0 {
		p.client.AllowRebalance()
		pace.Sleep(ctx, resubscribeTime)
	}
	return failed, err
}

// resubscribeTime is how long the worker waits for the client to switch to a re-created topic.
// The client switches in the background. A poll in that time returns what is still buffered
// and may set back the position that the client has just found in the new topic (franz-go
// 1.22.2).
const resubscribeTime = time.Second

// readRecreated switches to the new topic after a topic was re-created. The client reads the
// new topic only after it was made to forget the old one. The worker forgets it too, so that
// it does not commit offsets of the old topic for the new one, which has the same name.
func (p *poller) readRecreated(topic string) {
	p.gates.whileOwned(func() {
		p.partitions.forgetTopic(topic)
		p.client.PurgeTopicsFromConsuming(topic)
		p.client.AddConsumeTopics(topic)
	})
}
