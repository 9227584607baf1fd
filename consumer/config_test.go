package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/consumer"
)

func valid() consumer.Config {
	return consumer.Config{
		Client: []kgo.Opt{kgo.SeedBrokers("localhost:9092")},
		Group:  "g", Topics: []string{"t"}, Store: newFake(), Decode: decodeKey,
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*consumer.Config)
		want   []string // parts of the error, all at once; none: it is valid
	}{
		"least":       {func(*consumer.Config) {}, nil},
		"nothing":     {func(c *consumer.Config) { *c = consumer.Config{} }, []string{"Group is empty", "Topics is empty", "Store is nil", "Decode is nil"}},
		"empty topic": {func(c *consumer.Config) { c.Topics = []string{"a", ""} }, []string{"Topics[1] is empty"}},
		"protocol":    {func(c *consumer.Config) { c.Protocol = 7 }, []string{"Protocol 7 is unknown"}},
		"negatives":   {func(c *consumer.Config) { c.Connections, c.MaxBatch, c.RebalanceHold = -1, -2, -3 }, []string{"Connections is -1", "MaxBatch is -2", "RebalanceHold is -3ns"}},
		"retry order": {func(c *consumer.Config) { c.RetryMin, c.RetryMax = 2, 1 }, []string{"RetryMin is 2ns and RetryMax 1ns"}},
		"retry min":   {func(c *consumer.Config) { c.RetryMin = -1 }, []string{"must not be negative"}},
		"retry only":  {func(c *consumer.Config) { c.RetryMin = time.Hour }, nil},
		"no grace":    {func(c *consumer.Config) { c.ShutdownGrace, c.ApplyTimeout = -1, -1 }, nil},
		"half a store": {func(c *consumer.Config) {
			c.Store = struct{ consumer.Store }{newFake()} // what it embeds is an interface, which hides the rest
			c.DeadLetterTopic = consumer.DeadLetterSuffix
		}, []string{"does not implement Sweeper", "does not implement TimerFirer", "does not implement DeadLetterCopier"}},
		"half a store, swept": {func(c *consumer.Config) {
			c.Store, c.SweepEvery, c.FireEvery = struct{ consumer.Store }{newFake()}, -1, -1
		}, nil},
		"hook":        {func(c *consumer.Config) { c.Hooks = []consumer.Hook{new(hooks), "no hook"} }, []string{"Hooks[1] is a string"}},
		"bad client":  {func(c *consumer.Config) { c.Client = []kgo.Opt{kgo.SeedBrokers("localhost:nine")} }, []string{"Client:"}},
		"all at once": {func(c *consumer.Config) { c.Group, c.Connections = "", -1; c.Client = []kgo.Opt{kgo.SeedBrokers()} }, []string{"Group is empty", "Connections is -1", "Client:"}},
		"overridden":  {client(kgo.ConsumerGroup("other"), kgo.ConsumeTopics("other"), kgo.AutoCommitInterval(time.Second)), nil},
		"848 balancer": {func(c *consumer.Config) {
			c.Protocol = consumer.Consumer
			client(kgo.Balancers(kgo.RangeBalancer()))(c)
		}, nil},
		"848 instance": {func(c *consumer.Config) {
			c.Protocol = consumer.Consumer
			client(kgo.InstanceID("i"))(c)
		}, []string{"Client:", "InstanceID", "consumer.Classic"}},
		"848 instance by option": {client(kgo.InstanceID("i"), kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer())), []string{"Client:", "InstanceID"}},
		"848 and all else": {func(c *consumer.Config) {
			c.Protocol = consumer.Consumer
			client(kgo.InstanceID("i"), kgo.ConsumeRegex())(c)
		}, []string{"InstanceID", "ConsumeRegex"}},
		"848":         {func(c *consumer.Config) { c.Protocol = consumer.Consumer }, nil},
		"instance":    {client(kgo.InstanceID("i")), nil},
		"no instance": {client(kgo.InstanceID("")), []string{"Client:"}},
		"offsets": {client(kgo.AdjustFetchOffsetsFn(func(_ context.Context, o map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
			return o, nil
		})), []string{"AdjustFetchOffsetsFn"}},
		"regex":         {client(kgo.ConsumeRegex()), []string{"ConsumeRegex"}},
		"partitions":    {client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"t": {0: kgo.NewOffset()}})), []string{"Client:", "direct-partition"}},
		"share group":   {client(kgo.ShareGroup("s")), []string{"Client:"}},
		"transactional": {client(kgo.TransactionalID("x")), []string{"TransactionalID"}},
		"marks":         {client(kgo.AutoCommitMarks()), []string{"Client:"}},
		"greedy":        {client(kgo.GreedyAutoCommit()), []string{"Client:"}},
		"two of them":   {client(kgo.ConsumeRegex(), kgo.TransactionalID("x")), []string{"ConsumeRegex", "TransactionalID"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := valid()
			tt.change(&cfg)
			worker, err := consumer.New(cfg)
			if len(tt.want) == 0 {
				if err != nil || worker == nil {
					t.Fatalf("New = %v, want a worker", err)
				}
				return
			}
			if !errors.Is(err, consumer.ErrConfig) || worker != nil {
				t.Fatalf("New = %v, %v; want an ErrConfig", worker, err)
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("New = %q, which does not mention %q", err, part)
				}
			}
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if part := consumer.ErrConfig.Error(); strings.Count(line, part) != 1 {
					t.Errorf("line %q does not say once that it is about the %s", line, part)
				}
			}
		})
	}
}

func client(opts ...kgo.Opt) func(*consumer.Config) {
	return func(c *consumer.Config) { c.Client = append(c.Client, opts...) }
}

// New creates no client: it calls no hooks of the client and opens no connections.
func TestNewTouchesNothing(t *testing.T) {
	t.Parallel()
	for _, protocol := range []consumer.Protocol{consumer.Classic, consumer.Consumer} {
		cfg := valid()
		cfg.Protocol = protocol
		client(kgo.WithHooks(noClient{t}), kgo.Dialer(func(context.Context, string, string) (net.Conn, error) {
			t.Error("New dials")
			return nil, net.ErrClosed
		}))(&cfg)
		if _, err := consumer.New(cfg); err != nil {
			t.Error(err)
		}
	}
}

// noClient is a client hook that fails the test when a client is created.
type noClient struct{ t *testing.T }

func (h noClient) OnNewClient(*kgo.Client)    { h.t.Error("New makes a client") }
func (h noClient) OnClientClosed(*kgo.Client) { h.t.Error("New closes a client") }

// TestConfigReportsOnce checks that no mistake is reported a second time by the client.
func TestConfigReportsOnce(t *testing.T) {
	t.Parallel()
	cfg := valid()
	cfg.Group, cfg.Topics = "", []string{"a", ""}
	_, err := consumer.New(cfg)
	if n := strings.Count(fmt.Sprint(err), "worker configuration"); n != 2 {
		t.Errorf("%d problems, want 2:\n%v", n, err)
	}
}
