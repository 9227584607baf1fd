package demo

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// announced is a record on the topic of the shipments.
type announced struct {
	id    string // ce_id
	Order string `json:"order"`
	Event string `json:"event"`
}

// The events of announcements.
const (
	onItsWay = "shipment.announced"
	arrived  = "shipment.arrived"
)

// readShipments reads the topic of the shipments from its start.
func (s *stage) readShipments(ctx context.Context) (all []announced, err error) {
	ends, err := s.ends(ctx, s.shipments)
	if err != nil {
		return nil, err
	}
	from := make(map[int32]kgo.Offset)
	for id := range ends {
		from[id] = kgo.NewOffset().AtStart()
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{s.shipments: from}))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for int64(len(all)) < sum(ends) {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("read topic %q: %w", s.shipments, err)
		}
		for r := range fetches.RecordsAll() {
			a, err := readAnnounced(r)
			if err != nil {
				return nil, fmt.Errorf("record %d@%d of topic %q: %w", r.Partition, r.Offset, s.shipments, err)
			}
			all = append(all, a)
		}
	}
	return all, nil
}

func readAnnounced(r *kgo.Record) (a announced, err error) {
	for _, h := range r.Headers {
		if h.Key == "ce_id" {
			a.id = string(h.Value)
		}
	}
	err = json.Unmarshal(r.Value, &a)
	return a, err
}
