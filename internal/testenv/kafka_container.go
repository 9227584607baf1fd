package testenv

import (
	"context"
	"errors"
	"fmt"

	"github.com/testcontainers/testcontainers-go"
)

// KafkaImage is the image of the Kafka container, that of the Apache project.
// The kafka module of testcontainers knows Confluent's image only, by scripts
// inside it, so the container is described here. What is asked of the image:
//
//   - "sh" and "sleep", with which the start waits for the broker's address;
//   - /etc/kafka/docker/run, which turns the KAFKA_* variables of kafkaEnv
//     into the broker's properties, formats its storage and runs it;
//   - a /tmp that a file can be copied to and the container's user can read.
//
// Port 9092 is published on a port of Docker's choice. It is ready when a
// client gets an answer there; no log line is relied on. It is pulled only if
// it is not there.
const KafkaImage = "apache/kafka:4.1.0"

const (
	kafkaPort = "9092/tcp"

	// kafkaAddress is the file that the start waits for. A client is sent to
	// the address that the broker advertises, which must be the published
	// one, and that is known only when the container runs.
	kafkaAddress = "/tmp/advertised"

	kafkaStart = "while [ ! -s " + kafkaAddress + " ]; do sleep 0.05; done; " +
		"export KAFKA_ADVERTISED_LISTENERS=$(cat " + kafkaAddress + "); exec /etc/kafka/docker/run"
)

// kafkaEnv is one node that is broker and controller. BROKER is the listener
// by which it reaches itself: the published address leads there from outside
// only.
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

	// Tests do not wait for members that never come, and want short sessions.
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

// startKafka tells the broker its published address and waits for it there.
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
