package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/versioning"
)

// Config says what a worker consumes and where it keeps it. Client, Group,
// Topics, Store and Decode are required; the zero value of every other field is
// useful.
type Config struct {
	// Client holds options for the Kafka client: seed brokers, TLS, SASL, fetch
	// sizes, hooks and so on.
	//
	// Some defaults differ from those of kgo and may be changed here: a partition
	// without a committed offset is read from its start, only committed records of
	// transactions are read, a fetch waits for 500 ms at most, and it brings 4 MiB at
	// most, of each broker, as they are sent (or one batch of the producer's that is
	// larger), to bound the memory. FetchMaxPartitionBytes has no effect beyond
	// FetchMaxBytes.
	//
	// What the worker sets itself wins: the group, the topics, auto-commit
	// (off), the context, the callbacks of the group, and blocking rebalances
	// while a batch is in hand. Options that cannot be overridden and would
	// break the worker's promises are reported by New: ConsumeRegex,
	// ConsumePartitions, ShareGroup, TransactionalID and the other ways to
	// commit automatically. So is InstanceID together with Protocol: Consumer,
	// where a worker that is restarted would wait for a session timeout.
	Client []kgo.Opt

	// Group is the consumer group. Workers of one group share its topics'
	// partitions.
	Group string

	// Topics are the topics to consume.
	Topics []string

	// Store keeps the entities; usually a *postgres.Store. A Store that stands for
	// others has to pass on what they do beyond the interface: New refuses one that is
	// no [Sweeper], unless SweepEvery is negative, or no [DeadLetterCopier] where
	// DeadLetterTopic is set.
	Store Store

	// Decode returns the changes that a record asks for. See [DecodeFunc].
	Decode DecodeFunc

	// Protocol is the group protocol. The zero value is the classic one, with
	// the cooperative-sticky assignor.
	Protocol Protocol

	// Connections is the number of transactions that a batch is spread over, by
	// entity. 0 means 4. The pool should have at least as many connections.
	Connections int

	// MaxBatch bounds the records of a batch. 0 means 5,000. A batch is what
	// has arrived: it grows with lag, and waits for nothing.
	MaxBatch int

	// MaxUnpacked bounds the bytes of what was fetched and waits for its batch,
	// unpacked: compressed records may take a thousand times what a fetch is bounded
	// to. 0 means 64 MiB. With the batch that is decoded and the one that is applied,
	// a worker may hold three times as much. What is over it is fetched again. A batch
	// of a producer's is unpacked as a whole, whatever is left of the bound; one of
	// more than 256 MiB is not (kgo.MaxDecompressBatchBytes in Client sets another
	// limit): its partition stands still then, and the worker is Troubled.
	MaxUnpacked int

	// ApplyTimeout bounds one attempt of the store to settle its part of a
	// batch; an attempt that takes longer is given up and made again. It is for
	// connections that hang without an error, so it should be far longer than
	// any batch takes. 0 means 1 minute; negative means no bound.
	ApplyTimeout time.Duration

	// ShutdownGrace bounds how long the batch in hand may go on once Run's
	// context is done. 0 means 10 seconds; negative means not at all. An
	// abandoned batch is delivered again.
	ShutdownGrace time.Duration

	// RebalanceHold bounds how long a batch in hand may hold up a rebalance
	// while the database answers. 0 means 5 seconds. When the database is in
	// trouble, a rebalance is not held up at all. It must stay below the
	// group's rebalance timeout, which is a minute, or twice RebalanceHold if
	// that is longer, unless Client says otherwise.
	RebalanceHold time.Duration

	// RetryMin and RetryMax bound the time between attempts when the database is
	// in trouble. 0 means 100 milliseconds and 10 seconds.
	RetryMin, RetryMax time.Duration

	// SweepEvery is the time between two looks after the parked records: at those
	// whose entity moved at the moment of parking, and at those that have waited
	// too long. 0 means 1 minute, and needs a Store that is a
	// [Sweeper]; negative means that this worker never looks, so that something else has to, and
	// tells nobody how far its partitions are read, so that the age of parked records
	// does not depend on them. A batch that parks records is followed by looks of its
	// own, half a second later, a second after that, and so on, at twice the time each.
	SweepEvery time.Duration

	// StalledAfter is after how long without progress a worker that has lag is
	// Troubled ([Worker.Health]), even if nothing has failed: a transaction may
	// wait for a lock, or a partition may have no leader. It should be longer
	// than any batch takes. 0 means 1 minute.
	StalledAfter time.Duration

	// DeadLetterTopic, if not nil, has dead letters copied to topics as well: it
	// names the one for the dead letters of a topic, and [DeadLetterSuffix] is
	// the usual choice. The copies carry the record's key, value and headers, and
	// the headers HeaderReason and so on; they are produced with acks=all, and at
	// least once. Dead letters are kept in the database all the same.
	DeadLetterTopic func(topic string) string

	// Logger gets the worker's logs. nil means slog.Default().
	Logger *slog.Logger

	// Hooks observe what the worker does: see [Hook].
	Hooks []Hook
}

// Store keeps entities and decides about records. *postgres.Store is one, and
// versioningtest has one in memory. It must be safe for concurrent use.
type Store interface {
	// Prepare makes a record ready for Apply. What is wrong with the record
	// goes into its Err.
	Prepare(*versioning.Record)

	// Split deals the records of a batch out to at most n lists that can be
	// applied at the same time, in their order, and maps them back: element i of
	// list s is records[index[s][i]]. Where it can't, the batch is applied whole.
	// [versioning.Split] does for a store that parks no records with several
	// changes.
	Split(ctx context.Context, records []*versioning.Record, n int) (lists [][]*versioning.Record, index [][]int, err error)

	// Apply settles records, in their order, and returns their verdicts once
	// they are true. After an error the first len(Result.Outcomes) records are
	// settled, and the rest may be given to Apply again. If the database is not on
	// the server that Marks has returned any more, nothing is written, and the error
	// is [versioning.ErrServerChanged]. After a [versioning.ErrSplitAgain] the rest is
	// split again before that.
	Apply(ctx context.Context, on versioning.Server, records []*versioning.Record) (versioning.Result, error)

	// Marks returns how far the group has settled partitions, of topics with the
	// given IDs, and the server that says so, which must have a name.
	Marks(ctx context.Context, group string, topicIDs [][16]byte) ([]versioning.Mark, versioning.Server, error)

	// SetMarks notes how far the group has settled partitions, if the server is
	// the given one still, and has none of the marks behind its Last; if not, it returns
	// [versioning.ErrServerChanged]. Offsets are committed after that.
	SetMarks(ctx context.Context, group string, server versioning.Server, marks []versioning.Mark) error
}

// Protocol is a protocol of consumer groups.
type Protocol uint8

const (
	// Classic is the zero value: the clients assign the partitions
	// (cooperative-sticky unless Config.Client says otherwise).
	Classic Protocol = iota

	// Consumer is the protocol of KIP-848: the broker assigns the partitions,
	// with its uniform assignor. It needs Kafka 4.0 or later; with older brokers
	// the client falls back to the classic protocol with the sticky assignor,
	// which stops the whole group for each rebalance.
	Consumer
)

// ErrConfig is what every error of an unusable Config is.
var ErrConfig = errors.New("worker configuration")

const (
	defaultConnections   = 4
	defaultMaxBatch      = 5000
	defaultMaxUnpacked   = 64 << 20
	defaultApplyTimeout  = time.Minute
	defaultShutdownGrace = 10 * time.Second
	defaultRebalanceHold = 5 * time.Second
	defaultSweepEvery    = time.Minute
	defaultStalledAfter  = time.Minute
	defaultRetryMin      = 100 * time.Millisecond
	defaultRetryMax      = 10 * time.Second
)

// withDefaults returns the configuration with its zero values filled in.
func (c Config) withDefaults() Config {
	c.Connections = orDefault(c.Connections, defaultConnections)
	c.MaxBatch = orDefault(c.MaxBatch, defaultMaxBatch)
	c.MaxUnpacked = orDefault(c.MaxUnpacked, defaultMaxUnpacked)
	c.ApplyTimeout = orDefault(c.ApplyTimeout, defaultApplyTimeout)
	c.ShutdownGrace = max(0, orDefault(c.ShutdownGrace, defaultShutdownGrace))
	c.RebalanceHold = orDefault(c.RebalanceHold, defaultRebalanceHold)
	c.RetryMin = orDefault(c.RetryMin, defaultRetryMin)
	c.RetryMax = orDefault(c.RetryMax, max(defaultRetryMax, c.RetryMin))
	c.SweepEvery = orDefault(c.SweepEvery, defaultSweepEvery)
	c.StalledAfter = orDefault(c.StalledAfter, defaultStalledAfter)
	c.Logger = orDefault(c.Logger, slog.Default())
	return c
}

func orDefault[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// validate returns all that is wrong with a configuration at once.
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
	require(c.Connections > 0, "Connections is %d; it must be positive", c.Connections)
	require(c.MaxBatch > 0, "MaxBatch is %d; it must be positive", c.MaxBatch)
	require(c.MaxUnpacked > 0, "MaxUnpacked is %d; it must be positive", c.MaxUnpacked)
	require(c.RebalanceHold > 0, "RebalanceHold is %v; it must be positive", c.RebalanceHold)
	require(c.RetryMin > 0 && c.RetryMin <= c.RetryMax, "RetryMin %v and RetryMax %v must be positive and in order", c.RetryMin, c.RetryMax)
	require(c.StalledAfter > 0, "StalledAfter is %v; it must be positive", c.StalledAfter)
	if _, ok := c.Store.(Sweeper); c.SweepEvery > 0 && c.Store != nil {
		require(ok, "the Store, a %T, is no Sweeper: records that it parks could stay parked for ever; "+
			"give it the method Sweep, or set SweepEvery below 0 where something else sweeps", c.Store)
	}
	if _, ok := c.Store.(DeadLetterCopier); c.DeadLetterTopic != nil && c.Store != nil {
		require(ok, "DeadLetterTopic is set, and the Store, a %T, is no DeadLetterCopier: give it the method CopyDeadLetters", c.Store)
	}
	for i, hook := range c.Hooks {
		require(isHook(hook), "Hooks[%d] is a %T, which implements no hook of this package", i, hook)
	}
	for _, err := range c.validateClient() {
		problems = append(problems, fmt.Errorf("%w: Client: %w", ErrConfig, err))
	}
	return errors.Join(problems...)
}
