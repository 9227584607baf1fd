package relay

import (
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/versioning"
)

// recordOf returns the record that a message becomes: with the headers of CloudEvents' Kafka
// binding and then those that the transition has set.
func recordOf(m *versioning.Emitted) *kgo.Record {
	own := m.CloudEvent()
	r := &kgo.Record{Topic: m.Topic, Key: m.Key, Value: m.Value, Headers: make([]kgo.RecordHeader, 0, len(own)+len(m.Headers))}
	for _, h := range own {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	for _, h := range m.Headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return r
}
