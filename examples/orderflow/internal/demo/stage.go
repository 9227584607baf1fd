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

// partitions is how many partitions the demo's topic has.
const partitions = 6

// A stage is all that a run of the demo works on.
type stage struct {
	cfg    Config
	screen *screen
	servers
	admin   *kadm.Client
	topic   string
	topicID kadm.TopicID
	group   string // of the first run; that of the replay is group + "-replay"
	traffic traffic.Traffic
	ledger  []traffic.Sent // every record that was produced
}

// open brings up the servers, makes the tables and the topic, and makes up the
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
	s.screen.say("Tables", "orderflow.orders, and schema pawl for history, parked records and dead letters")
	s.name()
	s.traffic = traffic.Generate(traffic.Plan{Orders: s.cfg.Orders, Seed: s.cfg.Seed, Prefix: s.prefix()})
	return s.createTopic(ctx)
}

// name chooses names for the topic and the group. On servers of the demo's own
// they are always the same; on others every run has names of its own, for a run
// must neither meet the last one nor anything that is yours.
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

// prefix returns what the keys of all orders of this run begin with.
func (s *stage) prefix() string {
	if s.real {
		return strings.ToLower(rand.Text()[:8])
	}
	return "order"
}

func (s *stage) createTopic(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	topic, err := s.admin.CreateTopic(ctx, partitions, -1, nil, s.topic) // -1: the broker's replication factor
	if errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("the demo needs a topic of its own, for it must know every record in it; leave --topic out: topic %q: %w", s.topic, err)
	}
	if err != nil {
		return fmt.Errorf("create topic %q: %w", s.topic, err)
	}
	s.topicID = topic.ID
	s.screen.say("Topic", "%s, with %d partitions", s.topic, partitions)
	return nil
}

// close takes the demo's own things off the servers and closes what is open.
// What did not balance is left there to be looked at.
func (s *stage) close(failed error) error {
	var tidied error
	if keep := s.cfg.Keep || errors.Is(failed, ErrMismatch); s.real && !keep {
		tidied = s.tidy()
	}
	return errors.Join(failed, tidied, s.shut())
}
