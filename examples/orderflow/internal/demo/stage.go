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

// partitions is the number of partitions of the demo's topic.
const partitions = 6

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
	s.screen.say("Tables", "orderflow.orders, and schema pawl with history, parked records and dead letters")
	s.name()
	s.traffic = traffic.Generate(traffic.Plan{Orders: s.cfg.Orders, Seed: s.cfg.Seed, Prefix: s.prefix()})
	return s.createTopic(ctx)
}

// name sets the names of the topic and the group. On servers that the demo
// starts they are fixed. On the user's servers every run has unique names, so
// that it cannot collide with an earlier run or with the user's data.
func (s *stage) name() {
	s.topic = "orders"
	if s.real {
		s.topic = "orderflow-" + strings.ToLower(rand.Text()[:8])
	}
	if s.cfg.Topic != "" {
		s.topic = s.cfg.Topic
	}
	s.group = s.topic + "-workers"
}

// prefix returns the prefix of the keys of this run's orders.
func (s *stage) prefix() string {
	if s.real {
		return strings.ToLower(rand.Text()[:8])
	}
	return "order"
}

func (s *stage) createTopic(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	topic, err := s.admin.CreateTopic(ctx, partitions, -1, nil, s.topic) // -1: the broker's default replication factor
	if errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("create topic %q: the demo needs a new topic, because it must know every record in it; omit --topic: %w", s.topic, err)
	}
	if err != nil {
		return fmt.Errorf("create topic %q: %w", s.topic, err)
	}
	s.topicID = topic.ID
	s.screen.say("Topic", "%s, with %d partitions", s.topic, partitions)
	return nil
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
