package otel

import (
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// with returns the option for a measurement with more attributes than those of each metric.
func (o *Observer) with(more ...attribute.KeyValue) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(append(more, o.base...)...))
}

// series are the attributes that each batch needs, so that they are built once.
type series struct {
	base            metric.MeasurementOption
	process, commit map[bool]metric.MeasurementOption // by success

	topics sync.Map // string to metric.MeasurementOption
}

func (s *series) init(o *Observer) {
	process := []attribute.KeyValue{semconv.MessagingSystemKafka, semconv.MessagingOperationName("process")}
	commit := []attribute.KeyValue{semconv.MessagingSystemKafka, semconv.MessagingOperationName("commit"), semconv.MessagingOperationTypeSettle}
	s.base = o.with()
	s.process = map[bool]metric.MeasurementOption{
		true: o.with(process...), false: o.with(append(process, semconv.ErrorTypeKey.String("given_up"))...),
	}
	s.commit = map[bool]metric.MeasurementOption{
		true: o.with(commit...), false: o.with(append(commit, semconv.ErrorTypeKey.String(otherError))...),
	}
}

// ofTopic returns the attributes of records that were polled from a topic.
func (s *series) ofTopic(o *Observer, topic string) metric.MeasurementOption {
	if known, ok := s.topics.Load(topic); ok {
		return known.(metric.MeasurementOption) //nolint:forcetypeassert // nothing else is stored
	}
	made := o.with(semconv.MessagingSystemKafka, semconv.MessagingOperationName("poll"),
		semconv.MessagingOperationTypeReceive, semconv.MessagingDestinationName(topic))
	s.topics.Store(topic, made)
	return made
}
