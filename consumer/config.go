package consumer

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Config configures a worker. Client, Group, Topics, Store and Decode are required; the
// zero value of every other field is useful.
type Config struct {
	// Client holds options for the Kafka client: seed brokers, TLS, SASL, fetch
	// sizes, hooks and so on.
	//
	// Some defaults differ from those of kgo. You can change them here: the worker
	// reads a partition without a committed offset from its start and skips records of
	// transactions that are not committed. A fetch waits for at most 500 ms. It returns
	// at most 4 MiB from each broker, compressed (or one larger batch of a producer), to
	// limit the memory. FetchMaxPartitionBytes has no effect beyond FetchMaxBytes.
	//
	// The worker overrides the group, the topics, auto-commit (off), the context, the
	// callbacks of the group, and BlockRebalanceOnPoll (on). New reports options that it
	// cannot override and that would break the worker's promises: ConsumeRegex,
	// ConsumePartitions, ShareGroup, TransactionalID and the other ways to commit
	// automatically. It also reports InstanceID together with Protocol: Consumer, because
	// a restarted worker would wait for a session timeout.
	Client []kgo.Opt

	// Group is the consumer group. Workers of one group share its topics'
	// partitions.
	Group string

	// Topics are the topics to consume.
	Topics []string

	// Store holds the entities; usually a *postgres.Store. A Store that wraps another
	// one must also pass on the methods beyond the interface: New requires a [Sweeper],
	// unless SweepEvery is negative, a [TimerFirer], unless FireEvery is negative, and a
	// [DeadLetterCopier] if DeadLetterTopic is set. Without those of an [OutboxStore], the
	// worker publishes no messages. Without those of a [StepwiseReporter], it does not log
	// which tables are written more slowly, and without those of a [TimerCounter], it does
	// not count timers.
	Store Store

	// Decode returns the changes that a record asks for. See [DecodeFunc], and package codec
	// for the formats that it knows.
	Decode DecodeFunc

	// Protocol is the group protocol. The zero value is Classic, with the
	// cooperative-sticky assignor.
	Protocol Protocol

	// Connections is the number of concurrent transactions for one batch. The batch is
	// split over them by entity. 0 means 4. The pool should have at least as many
	// connections. If many timers are due at once, the worker uses up to as many again to fire
	// them.
	Connections int

	// MaxBatch limits the number of records in a batch. 0 means 10,000. A batch is what
	// has arrived: it grows with lag, and nothing waits for it to fill.
	MaxBatch int

	// MaxUnpacked limits the memory, in bytes, for records that were fetched and
	// decompressed and wait to be polled. The limit of a fetch is not enough, because
	// records may take a thousand times their compressed size. 0 means 64 MiB. A worker
	// may hold three times as much: what waits, the batch it decodes and the batch it
	// applies. Records beyond the limit are fetched again. A producer's batch is always
	// decompressed as a whole, even if less than that is left of the limit. One that is
	// larger than 256 MiB is not decompressed (kgo.MaxDecompressBatchBytes in Client
	// changes this limit): its partition stops there, and the worker is Troubled.
	MaxUnpacked int

	// ApplyTimeout limits one call of the store that settles its part of a batch. The
	// worker cancels a call that takes longer, and retries. It is for connections that
	// hang without an error, so it should be far longer than any batch takes. 0 means
	// 1 minute; negative means no limit.
	ApplyTimeout time.Duration

	// ShutdownGrace limits how long the current batch may keep running after Run's
	// context is canceled. 0 means 10 seconds; negative means not at all. A batch that
	// the worker gives up is delivered again.
	ShutdownGrace time.Duration

	// RebalanceHold limits how long the current batch may delay a rebalance while the
	// database answers. 0 means 5 seconds. While the database is in trouble, the batch
	// does not delay a rebalance. RebalanceHold must be below the group's rebalance
	// timeout, which is a minute, or twice RebalanceHold if that is longer, unless
	// Client sets another.
	RebalanceHold time.Duration

	// RetryMin and RetryMax are the shortest and the longest wait between attempts while
	// the database is in trouble, and before the worker joins its group again to go back
	// to its marks. 0 means 100 milliseconds and 10 seconds.
	RetryMin, RetryMax time.Duration

	// SweepEvery is the time between two sweeps of the parked records. A sweep judges
	// records again whose entity moved while they were being parked, and makes dead
	// letters of those that have waited too long. 0 means 1 minute. A positive value
	// needs a Store that is a [Sweeper]. Negative means that this worker never sweeps, so
	// something else has to. Then it does not report how far its partitions are read, and
	// the age of parked records does not depend on them. After a batch that parks
	// records there are additional sweeps: half a second later, a second after that, and
	// so on, with twice the wait each time.
	SweepEvery time.Duration

	// FireEvery is the longest time between two looks at the timers that are due. The worker
	// also looks when the next timer that it knows is due. 0 means 1 second. A positive value
	// needs a Store that is a [TimerFirer]. Negative means that this worker never fires
	// timers, so another worker with the same tables has to.
	FireEvery time.Duration

	// StalledAfter is how long a worker with lag may make no progress before it is
	// Troubled ([Worker.Health]), even if nothing has failed: a transaction may wait for
	// a lock, or a partition may have no leader. It should be longer than any batch
	// takes. 0 means 1 minute.
	StalledAfter time.Duration

	// DeadLetterTopic, if not nil, makes the worker copy dead letters to topics too. It
	// returns the name of the dead-letter topic for a topic; [DeadLetterSuffix] is the
	// usual choice. A copy has the record's key, value and headers, and the headers
	// HeaderReason and so on. Copies are produced with acks=all, at least once. The dead
	// letters also stay in the database.
	DeadLetterTopic func(topic string) string

	// NoRelay turns off the relay that publishes the messages of transitions. Without it, the
	// worker runs one if Store is an [OutboxStore] that emits messages. Run package relay
	// somewhere then.
	//
	// The relay has a separate Kafka client, with the options of Client that are not about
	// consuming, so that a topic that hangs disturbs nothing else. Hooks of the client see
	// both.
	NoRelay bool

	// TransactionalID is that of the relay: see relay.Config. Empty means that messages are
	// published at least once.
	TransactionalID string

	// Logger receives the worker's logs. nil means slog.Default().
	Logger *slog.Logger

	// Hooks observe what the worker does: see [Hook].
	Hooks []Hook
}

// ErrConfig matches every error that New returns for an unusable Config.
var ErrConfig = errors.New("worker configuration")

const (
	defaultConnections   = 4
	defaultMaxBatch      = 10_000
	defaultMaxUnpacked   = 64 << 20
	defaultApplyTimeout  = time.Minute
	defaultShutdownGrace = 10 * time.Second
	defaultRebalanceHold = 5 * time.Second
	defaultSweepEvery    = time.Minute
	defaultFireEvery     = time.Second
	defaultStalledAfter  = time.Minute
	defaultRetryMin      = 100 * time.Millisecond
	defaultRetryMax      = 10 * time.Second
)

// withDefaults returns the configuration with defaults in place of its zero values.
func (c Config) withDefaults() Config {
	c.Connections = cmp.Or(c.Connections, defaultConnections)
	c.MaxBatch = cmp.Or(c.MaxBatch, defaultMaxBatch)
	c.MaxUnpacked = cmp.Or(c.MaxUnpacked, defaultMaxUnpacked)
	c.ApplyTimeout = cmp.Or(c.ApplyTimeout, defaultApplyTimeout)
	c.ShutdownGrace = max(0, cmp.Or(c.ShutdownGrace, defaultShutdownGrace))
	c.RebalanceHold = cmp.Or(c.RebalanceHold, defaultRebalanceHold)
	c.RetryMin = cmp.Or(c.RetryMin, defaultRetryMin)
	c.RetryMax = cmp.Or(c.RetryMax, max(defaultRetryMax, c.RetryMin))
	c.SweepEvery = cmp.Or(c.SweepEvery, defaultSweepEvery)
	c.FireEvery = cmp.Or(c.FireEvery, defaultFireEvery)
	c.StalledAfter = cmp.Or(c.StalledAfter, defaultStalledAfter)
	c.Logger = cmp.Or(c.Logger, slog.Default())
	return c
}

// validate returns all errors of a configuration at once.
func (c Config) validate() error {
	var problems []error
	require := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...))
		}
	}
	require(c.Group != "", "Group is empty; name the consumer group")
	require(len(c.Topics) > 0, "Topics is empty; name at least one topic")
	for i, topic := range c.Topics {
		require(topic != "", "Topics[%d] is empty", i)
	}
	require(c.Store != nil, "Store is nil; open one with postgres.Open")
	require(c.Decode != nil, "Decode is nil; write one, or use consumer.JSON")
	require(c.Protocol <= Consumer, "Protocol %d is unknown; use consumer.Classic or consumer.Consumer", c.Protocol)
	require(c.Connections > 0, "Connections is %d; it must not be negative", c.Connections)
	require(c.MaxBatch > 0, "MaxBatch is %d; it must not be negative", c.MaxBatch)
	require(c.MaxUnpacked > 0, "MaxUnpacked is %d; it must not be negative", c.MaxUnpacked)
	require(c.RebalanceHold > 0, "RebalanceHold is %v; it must not be negative", c.RebalanceHold)
	require(c.RetryMin > 0 && c.RetryMin <= c.RetryMax, "RetryMin is %v and RetryMax %v; they must not be negative, and RetryMin not above RetryMax", c.RetryMin, c.RetryMax)
	require(c.StalledAfter > 0, "StalledAfter is %v; it must not be negative", c.StalledAfter)
	if _, ok := c.Store.(Sweeper); c.SweepEvery > 0 && c.Store != nil {
		require(ok, "Store is a %T, which does not implement Sweeper, so records could stay parked forever; "+
			"add the method Sweep, or set SweepEvery to a negative value if something else sweeps", c.Store)
	}
	if _, ok := c.Store.(TimerFirer); c.FireEvery > 0 && c.Store != nil {
		require(ok, "Store is a %T, which does not implement TimerFirer, so timers would never fire; "+
			"add the method FireTimers, or set FireEvery to a negative value if another worker fires them", c.Store)
	}
	if _, ok := c.Store.(DeadLetterCopier); c.DeadLetterTopic != nil && c.Store != nil {
		require(ok, "DeadLetterTopic is set, but Store is a %T, which does not implement DeadLetterCopier; add the method CopyDeadLetters", c.Store)
	}
	for i, hook := range c.Hooks {
		require(isHook(hook), "Hooks[%d] is a %T, which implements none of BatchStartHook, BatchEndHook, TroubleHook, CommitHook and MaintainHook", i, hook)
	}
	valid := c
	valid.Group = cmp.Or(c.Group, "group") // what is wrong with these two was reported above
	valid.Topics = slices.DeleteFunc(slices.Clone(c.Topics), func(topic string) bool { return topic == "" })
	for _, err := range valid.validateClient() {
		problems = append(problems, fmt.Errorf("%w: Client: %w", ErrConfig, err))
	}
	if _, err := c.newRelay(); err != nil && c.Store != nil {
		problems = append(problems, fmt.Errorf("%w: %w; change that, or set NoRelay and run a relay elsewhere", ErrConfig, err))
	}
	return errors.Join(problems...)
}
