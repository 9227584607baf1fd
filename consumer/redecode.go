package consumer

import (
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/versioning"
)

// Redecode returns what [postgres.Store.Redrive] needs: a function that says
// again what a kept record asks for, as a worker of this configuration would.
func (c Config) Redecode() func(*versioning.Record) ([]versioning.Change, error) {
	return func(kept *versioning.Record) ([]versioning.Change, error) {
		k := &kgo.Record{
			Topic: kept.Origin.Topic, Partition: kept.Origin.Partition, Offset: kept.Origin.Offset,
			Key: kept.Key, Value: kept.Value, Timestamp: kept.Timestamp,
		}
		for _, h := range kept.Headers {
			k.Headers = append(k.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		again := versioning.Record{Headers: kept.Headers}
		again.Changes, again.Err = c.Decode.safely(k)
		identify(c.MessageIDHeader, &again)
		return again.Changes, again.Err
	}
}
