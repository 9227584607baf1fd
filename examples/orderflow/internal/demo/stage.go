package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/pawl-go/pawl/examples/orderflow/internal/traffic"
)

// partitions is the number of partitions of each of the demo's topics.
const partitions = 6

const (
	// payWithin is how long the customers of the demo have to try another card. It is
	// longer than their second try takes to arrive, unless a worker is killed.
	payWithin = 3 * time.Second

	// callTimeout is how long the workers wait for the provider.
	callTimeout = time.Second
)

// A stage is everything that a run of the demo works on.
type stage struct {
	cfg    Config
	screen *screen
	servers
	admin   *kadm.Client
	topic   string
	topicID kadm.TopicID
	group   string // of the first run; the replay's is group + "-replay"
	traffic traffic.Traffic
	ledger  []traffic.Sent // every record that was produced

	shipments     string // the topic
	shipmentsID   kadm.TopicID
	shipmentGroup string // of the first run
}

// open starts the servers, creates the tables and the topic, and generates the
// traffic.
func open(ctx context.Context, cfg Config) (*stage, error) {
	s := &stage{cfg: cfg, screen: newScreen(cfg)}
	if err := s.setUp(ctx); err != nil {
		return nil, errors.Join(err, s.shut())
	}
	return s, nil
}

func (s *stage) setUp(ctx context.Context) error {
	if err := s.openKafka(ctx, s.cfg, s.screen.say); err != nil {
		return err
	}
	s.admin = kadm.NewClient(s.client)
	if err := s.openPostgres(ctx, s.cfg, s.screen.say); err != nil {
		return err
	}
	if err := s.cfg.Migrate(ctx, s.databaseURL); err != nil {
		return err
	}
	s.screen.say("Tables", "orderflow.orders, payments and shipments; schema pawl with history, timers, outbox,\n"+
		"parked records and dead letters; schema orderflow_river with jobs")
	if err := s.openProvider(ctx, s.cfg, s.screen.say); err != nil {
		return err
	}
	s.name()
	s.traffic = traffic.Generate(traffic.Plan{Orders: s.cfg.Orders, Seed: s.cfg.Seed, Prefix: s.prefix()})
	return s.createTopics(ctx)
}

// name sets the names of the topics and the groups. On servers that the demo
// starts they are fixed. On the user's servers every run has unique names, so
// that it cannot collide with an earlier run or with the user's data.
func (s *stage) name() {
	s.topic, s.shipments = "orders", "shipments"
	if s.real {
		s.topic = "orderflow-" + strings.ToLower(rand.Text()[:8])
	}
	if s.cfg.Topic != "" {
		s.topic = s.cfg.Topic
	}
	if s.topic != "orders" {
		s.shipments = s.topic + "-shipments"
	}
	s.group, s.shipmentGroup = s.topic+"-workers", s.shipments+"-carriers"
}

// prefix returns the prefix of the keys of this run's orders.
func (s *stage) prefix() string {
	if s.real {
		return strings.ToLower(rand.Text()[:8])
	}
	return "order"
}

func (s *stage) createTopics(ctx context.Context) (err error) {
	if s.topicID, err = s.createTopic(ctx, s.topic); err != nil {
		return err
	}
	if s.shipmentsID, err = s.createTopic(ctx, s.shipments); err != nil {
		return err
	}
	s.screen.say("Topics", "%s and %s, with %d partitions each", s.topic, s.shipments, partitions)
	return nil
}

func (s *stage) createTopic(ctx context.Context, name string) (id kadm.TopicID, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	topic, err := s.admin.CreateTopic(ctx, partitions, -1, nil, name) // -1: the broker's default replication factor
	if errors.Is(err, kerr.TopicAlreadyExists) {
		return id, fmt.Errorf("create topic %q: the demo needs a new topic, because it must know every record in it; omit --topic: %w", name, err)
	}
	if err != nil {
		return id, fmt.Errorf("create topic %q: %w", name, err)
	}
	return topic.ID, nil
}

// close removes what the demo created on the servers and closes what is open.
// After a mismatch it keeps everything for inspection.
func (s *stage) close(failed error) error {
	var cleaned error
	if keep := s.cfg.Keep || errors.Is(failed, ErrMismatch); s.real && !keep {
		cleaned = s.cleanUp()
	}
	return errors.Join(failed, cleaned, s.shut())
}
