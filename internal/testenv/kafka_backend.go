package testenv

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/embedded"
)

// shortestSession is the minimum session timeout of a group.
const shortestSession = 500 * time.Millisecond

func (e *environment) kafkaResource() resource {
	return resource{
		variable: BrokersVariable,
		starters: map[kind]starter{
			kindServer:    e.namedKafka,
			kindContainer: containerKafka,
			kindEmbedded:  embeddedKafka,
		},
	}
}

// namedKafka uses the brokers of KAFKA_BROKERS. Closing it does not stop them.
func (e *environment) namedKafka(ctx context.Context) (*backend, error) {
	ctx, cancel := context.WithTimeout(ctx, e.patience)
	defer cancel()
	address := e.getenv(BrokersVariable)
	if err := pingKafka(ctx, address); err != nil {
		return nil, fmt.Errorf("connect to the brokers of %s; start them or unset the variable: %w", BrokersVariable, err)
	}
	detail := fmt.Sprintf("%s (server, %s)", BrokersVariable, address)
	return &backend{detail: detail, address: address, close: func() error { return nil }}, nil
}

func embeddedKafka(context.Context) (*backend, error) {
	cluster, err := embedded.StartKafka(embedded.KafkaConfig{
		// Tests want short sessions. The container allows them too.
		Options: []kfake.Opt{kfake.GroupMinSessionTimeout(shortestSession)},
	})
	if err != nil {
		return nil, err
	}
	address := strings.Join(cluster.Brokers(), ",")
	return &backend{detail: "kfake (embedded)", address: address, close: cluster.Close}, nil
}

// pingKafka checks that the brokers answer.
func pingKafka(ctx context.Context, address string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(address, ",")...))
	if err != nil {
		return err
	}
	defer client.Close()
	return client.Ping(ctx)
}
