package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// maxLag is how many seconds of traffic may be unsettled. On a machine that can't keep up
// with the rate, the workers could not settle a larger backlog within settleWithin.
const maxLag = 20

// produce sends traffic to a topic at a rate in records per second until ctx is
// done, and less if too much is unsettled. Then it sends what is held back, and waits until
// the broker has acknowledged everything.
func produce(ctx context.Context, broker, topic string, t *traffic, rate int, p *progress) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(broker),
		kgo.DefaultProduceTopic(topic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(5*time.Millisecond), // acks=all and idempotence are the client's defaults
	)
	if err != nil {
		return fmt.Errorf("producer: %w", err)
	}
	defer client.Close()

	finish := context.WithoutCancel(ctx)
	send := func(all []sending) error {
		for _, s := range all {
			record, err := s.record()
			if err != nil {
				return err
			}
			client.Produce(finish, record, func(r *kgo.Record, err error) {
				t.ledger.add(s, place{r.Partition, r.Offset}, err)
				if err == nil {
					p.produced(r.Partition, r.Offset+1)
				}
			})
		}
		return nil
	}
	if err := send(t.open()); err != nil {
		return err
	}
	const tick = 10 * time.Millisecond
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	perTick := float64(rate) * tick.Seconds()
	for due := 0.0; ; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			if err := send(t.rest()); err != nil {
				return err
			}
			return client.Flush(finish)
		}
		if p.lag() > int64(maxLag*rate) {
			p.pause(tick)
			continue
		}
		for due += perTick; due >= 1; due-- {
			if err := send(t.next()); err != nil {
				return err
			}
		}
	}
}

func (s sending) record() (*kgo.Record, error) {
	value := []byte("{ this is not JSON")
	if !s.garbage {
		var err error
		if value, err = json.Marshal(s.body); err != nil {
			return nil, fmt.Errorf("encode %s: %w", s.id, err)
		}
	}
	return &kgo.Record{
		Partition: int32(s.partition),
		Key:       []byte(s.body.Account),
		Value:     value,
		Headers:   []kgo.RecordHeader{{Key: "ce_id", Value: []byte(s.id)}},
	}, nil
}
