package contend

import (
	"context"
	"errors"
	"fmt"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pawl-go/pawl/bench/internal/traffic"
	"github.com/pawl-go/pawl/statemachine"
)

// runWatermill uses watermill's router with the hand-written transaction in its
// handler. Its docs say that the Kafka subscriber processes one message per
// partition at a time and that the router handles partitions concurrently. So
// its speed depends on the number of partitions, and it gets one connection per
// partition. It commits offsets in the background, which is its default.
func runWatermill(ctx context.Context, job Job, machine *statemachine.Machine, m *meter) error {
	pool, err := connect(ctx, job.DatabaseURL, Partitions)
	if err != nil {
		return err
	}
	defer pool.Close()
	config := kafka.DefaultSaramaSubscriberConfig()
	config.Version = sarama.V3_6_0_0 // the default, 1.0, is older than what Kafka 4 supports
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	subscriber, err := kafka.NewSubscriber(kafka.SubscriberConfig{
		Brokers: job.Brokers, ConsumerGroup: job.Group, OverwriteSaramaConfig: config,
		Unmarshaler: startingUnmarshaler{m},
	}, watermill.NopLogger{})
	if err != nil {
		return fmt.Errorf("create the subscriber: %w", err)
	}
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		return fmt.Errorf("create the router: %w", err)
	}
	transactor := newTransactor(pool, machine)
	router.AddConsumerHandler("orders", job.Topic, subscriber, func(msg *message.Message) error {
		decoded, err := traffic.Decode(msg.Payload)
		if err != nil {
			return err
		}
		if err := transactor.apply(msg.Context(), msg.Metadata.Get(traffic.IDHeader), &decoded); err != nil {
			return err
		}
		m.settle(1)
		return nil
	})
	if err := router.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Partitions is the number of partitions of each topic.
const Partitions = 16

// A startingUnmarshaler starts the clock with the first message.
type startingUnmarshaler struct{ meter *meter }

func (u startingUnmarshaler) Unmarshal(m *sarama.ConsumerMessage) (*message.Message, error) {
	u.meter.start()
	return kafka.DefaultMarshaler{}.Unmarshal(m)
}
