package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/examples/orderflow/internal/traffic"
)

func produceCommand(s *settings) *cobra.Command {
	plan := traffic.Plan{}
	cmd := &cobra.Command{
		Use:   "produce",
		Short: "Send sample traffic with realistic faults",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.need(true, false); err != nil {
				return err
			}
			if err := checkOrders(plan.Orders); err != nil {
				return err
			}
			if plan.Prefix == "" {
				plan.Prefix = strings.ToLower(rand.Text()[:8])
			}
			sent, err := produce(cmd.Context(), s.brokers, s.topicName(), plan)
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "sent %d records of %d orders, starting with %s-000000, to topic %s\n",
					sent, plan.Orders, plan.Prefix, s.topicName())
			}
			return err
		},
	}
	addTrafficFlags(cmd.Flags(), &plan.Orders, &plan.Seed)
	cmd.Flags().StringVar(&plan.Prefix, "prefix", "", "prefix of the orders' keys (default random)")
	return cmd
}

// produce sends the traffic of a plan.
func produce(ctx context.Context, brokers []string, topic string, plan traffic.Plan) (records int, err error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(brokers...),
		kgo.DialTimeout(5*time.Second),
		kgo.RecordDeliveryTimeout(30*time.Second))
	if err != nil {
		return 0, fmt.Errorf("brokers %q: %w", strings.Join(brokers, ","), err)
	}
	defer client.Close()
	soon, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := client.Ping(soon); err != nil {
		return 0, fmt.Errorf("no Kafka broker answered at %s: %w", strings.Join(brokers, ","), err)
	}
	for _, name := range []string{topic, defaultTerms.Shipments} { // the workers will need the other one
		if err := ensureTopic(ctx, client, name); err != nil {
			return 0, err
		}
	}
	sent, err := traffic.Send(ctx, client, topic, traffic.Generate(plan).Records)
	return len(sent), err
}

// ensureTopic creates the topic unless it exists.
func ensureTopic(ctx context.Context, client *kgo.Client, topic string) error {
	const partitions, brokersDefault = 6, -1
	_, err := kadm.NewClient(client).CreateTopic(ctx, partitions, brokersDefault, nil, topic)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("create topic %q: %w", topic, err)
	}
	return nil
}
