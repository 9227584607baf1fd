package testenv

import (
	"context"
	"errors"
	"fmt"

	"github.com/testcontainers/testcontainers-go"
)

// KafkaImage is the image of the Kafka container, from the Apache project. The
// kafka module of testcontainers works only with Confluent's image, because it
// uses scripts inside it, so this package configures the container itself. It
// needs from the image:
//
//   - "sh" and "sleep", to wait for the broker's address;
//   - /etc/kafka/docker/run, which converts the KAFKA_* variables of kafkaEnv
//     to the broker's properties, formats its storage and runs it;
//   - a writable /tmp whose files the container's user can read.
//
// Port 9092 is published on a port that Docker chooses. The broker is ready
// when a client gets an answer there; no log line matters. The image is pulled
// only if it is missing.
const KafkaImage = "apache/kafka:4.1.0"

const (
	kafkaPort = "9092/tcp"

	// kafkaAddress is the file that the start script waits for. The broker must
	// advertise the published address to clients, and that is known only once
	// the container runs.
	kafkaAddress = "/tmp/advertised"

	kafkaStart = "while [ ! -s " + kafkaAddress + " ]; do sleep 0.05; done; " +
		"export KAFKA_ADVERTISED_LISTENERS=$(cat " + kafkaAddress + "); exec /etc/kafka/docker/run"
)

// kafkaEnv configures one node that is broker and controller. The broker
// reaches itself through the listener BROKER, because the published address
// works only from outside.
var kafkaEnv = map[string]string{
	"KAFKA_NODE_ID":                        "1",
	"KAFKA_PROCESS_ROLES":                  "broker,controller",
	"KAFKA_LISTENERS":                      "PLAINTEXT://:9092,BROKER://:9093,CONTROLLER://:9094",
	"KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
	"KAFKA_INTER_BROKER_LISTENER_NAME":     "BROKER",
	"KAFKA_CONTROLLER_LISTENER_NAMES":      "CONTROLLER",
	"KAFKA_CONTROLLER_QUORUM_VOTERS":       "1@localhost:9094",

	"KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR":                 "1",
	"KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS":                     "1",
	"KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR":         "1",
	"KAFKA_TRANSACTION_STATE_LOG_MIN_ISR":                    "1",
	"KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS":             "1",
	"KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
	"KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR":            "1",
	"KAFKA_SHARE_COORDINATOR_STATE_TOPIC_NUM_PARTITIONS":     "1",

	// Tests do not wait for more members, and they want short sessions.
	"KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
	"KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS":     "500",

	"KAFKA_HEAP_OPTS": "-Xms256m -Xmx512m",
}

func containerKafka(ctx context.Context) (*backend, error) {
	b, err := runKafka(ctx)
	if err != nil {
		return nil, fmt.Errorf("run a container of %s: %w", KafkaImage, err)
	}
	return b, nil
}

func runKafka(ctx context.Context) (*backend, error) {
	if err := ensureImages(ctx, KafkaImage); err != nil {
		return nil, err
	}
	c, err := testcontainers.Run(ctx, KafkaImage,
		testcontainers.WithExposedPorts(kafkaPort),
		testcontainers.WithEnv(kafkaEnv),
		testcontainers.WithEntrypoint("sh"),
		testcontainers.WithCmd("-c", kafkaStart))
	if err != nil {
		return nil, errors.Join(err, testcontainers.TerminateContainer(c))
	}
	address, err := startKafka(ctx, c)
	if err != nil {
		return nil, errors.Join(err, terminate(c)())
	}
	detail := fmt.Sprintf("%s (container)", KafkaImage)
	return &backend{detail: detail, address: address, close: terminate(c)}, nil
}

// startKafka tells the broker its published address and waits until it answers
// there.
func startKafka(ctx context.Context, c testcontainers.Container) (address string, err error) {
	err = awaitReady(ctx, c, func(ctx context.Context) (err error) {
		address, err = c.PortEndpoint(ctx, kafkaPort, "")
		return err
	})
	if err != nil {
		return "", err
	}
	advertised := "PLAINTEXT://" + address + ",BROKER://localhost:9093\n"
	if err := c.CopyToContainer(ctx, []byte(advertised), kafkaAddress, 0o644); err != nil {
		return "", fmt.Errorf("copy the address to %s in the container: %w", kafkaAddress, err)
	}
	return address, awaitReady(ctx, c, func(ctx context.Context) error { return pingKafka(ctx, address) })
}
