package relay

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/kgoask"
)

// Config configures a relay. Client and Store are required; the zero value of every other
// field is useful.
type Config struct {
	// Client holds options for the Kafka client: seed brokers, TLS, SASL, hooks and so on.
	//
	// The relay overrides RequiredAcks (all), the limits of retries and of buffers, and the
	// context. New reports options that would break its promises: DisableIdempotentWrite,
	// AllowIdempotentProduceCancellation, ManualFlushing, DefaultProduceTopicAlways,
	// TransactionalID, and options for consumers. The partitioner, compression and the size of batches are free to choose.
	// Batches are sent after 1 millisecond unless ProducerLinger is set.
	Client []kgo.Opt

	// Store is the database; usually a *postgres.Store.
	Store Store

	// TransactionalID makes the relay publish in Kafka transactions, so that each message is
	// once on the wire for readers of committed records. It is the beginning of the IDs of
	// the transactions and of the groups in which the relay keeps its positions: the lane's
	// number follows. All relays of an outbox must have the same TransactionalID, and no
	// other outbox may have it. Empty means no transactions. The package documentation says
	// what they cost.
	TransactionalID string

	// Patience is how long a topic may not exist, or not be writable for lack of a right,
	// before its messages become unsent messages. Until then, they hold up the other
	// messages of their lanes. 0 means 5 minutes; negative means forever.
	Patience time.Duration

	// PollEvery is the longest wait before the relay looks for packs that other processes
	// have committed. It looks more often, down to every 5 milliseconds, while there are
	// some. 0 means 100 milliseconds.
	PollEvery time.Duration

	// LaneBytes limits the memory, in bytes of the outbox, for messages of one lane that were
	// read and are not published. A pack of an outbox has about 256 KiB, or one larger
	// message, and may exceed the limit. 0 means 2 MiB.
	LaneBytes int

	// ShutdownGrace limits how long Run waits for messages in flight after its context is
	// canceled. 0 means 10 seconds; negative means not at all. Messages that were not
	// acknowledged by then stay in the outbox, and are published again.
	ShutdownGrace time.Duration

	// RetryMin and RetryMax are the shortest and the longest wait between attempts while the
	// database or the broker is in trouble. 0 means 100 milliseconds and 10 seconds.
	RetryMin, RetryMax time.Duration

	// StalledAfter is how long a message may be in flight before the relay is Troubled. 0
	// means 10 seconds.
	StalledAfter time.Duration

	// Logger receives the relay's logs. nil means slog.Default().
	Logger *slog.Logger

	compression []kgo.Opt // how Client compresses, as New has found
}

// ErrConfig matches every error that New returns for an unusable Config.
var ErrConfig = errors.New("relay configuration")

const (
	defaultPatience      = 5 * time.Minute
	defaultPollEvery     = 100 * time.Millisecond
	defaultLaneBytes     = 2 << 20
	defaultShutdownGrace = 10 * time.Second
	defaultRetryMin      = 100 * time.Millisecond
	defaultRetryMax      = 10 * time.Second
	defaultStalledAfter  = 10 * time.Second
)

func (c Config) withDefaults() Config {
	c.Patience = cmp.Or(c.Patience, defaultPatience)
	if c.Patience < 0 {
		c.Patience = math.MaxInt64
	}
	c.PollEvery = cmp.Or(c.PollEvery, defaultPollEvery)
	c.LaneBytes = cmp.Or(c.LaneBytes, defaultLaneBytes)
	c.ShutdownGrace = max(0, cmp.Or(c.ShutdownGrace, defaultShutdownGrace))
	c.RetryMin = cmp.Or(c.RetryMin, defaultRetryMin)
	c.RetryMax = cmp.Or(c.RetryMax, max(defaultRetryMax, c.RetryMin))
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
	require(c.Store != nil, "Store is nil; open one with postgres.Open")
	require(c.PollEvery > 0, "PollEvery is %v; it must not be negative", c.PollEvery)
	require(c.LaneBytes > 0, "LaneBytes is %d; it must not be negative", c.LaneBytes)
	require(c.RetryMin > 0 && c.RetryMin <= c.RetryMax, "RetryMin is %v and RetryMax %v; they must not be negative, and RetryMin not above RetryMax", c.RetryMin, c.RetryMax)
	require(c.StalledAfter > 0, "StalledAfter is %v; it must not be negative", c.StalledAfter)
	if err := c.validateClient(); err != nil {
		problems = append(problems, fmt.Errorf("%w: Client: %w", ErrConfig, err))
	}
	return errors.Join(problems...)
}

// maxBuffered is far above what the lanes may have in flight: Produce must never block,
// because a topic that hangs would then hold up all lanes.
const maxBuffered = math.MaxInt32

// clientOptions returns the options of the Kafka client: the relay's defaults, then the
// application's options, then those that the relay's promises need. The last option of each
// kind wins.
func (c Config) clientOptions(more ...kgo.Opt) []kgo.Opt {
	return slices.Concat(
		[]kgo.Opt{kgo.ProducerLinger(time.Millisecond)},
		c.Client,
		[]kgo.Opt{
			kgo.RequiredAcks(kgo.AllISRAcks()),
			kgo.RecordRetries(math.MaxInt32),
			kgo.RecordDeliveryTimeout(0),
			kgo.UnknownTopicRetries(4),
			kgo.MaxBufferedRecords(maxBuffered),
			kgo.MaxBufferedBytes(0),
		},
		c.compression,
		more,
	)
}

// compressionOf returns options that compress like options of the application. A client writes
// to the argument of ProducerBatchCompression, so two clients must not be created from it at
// the same time.
func compressionOf(opts []kgo.Opt) []kgo.Opt {
	var c kgo.Compressor
	kgoask.Client(opts, func(client *kgo.Client) { c, _ = client.OptValue(kgo.WithCompressor).(kgo.Compressor) })
	if c == nil {
		return []kgo.Opt{kgo.WithCompressor(nil), kgo.ProducerBatchCompression()}
	}
	return []kgo.Opt{kgo.WithCompressor(c)}
}

func (c Config) validateClient() error {
	for _, opt := range c.Client {
		_, isGroup := opt.(kgo.GroupOpt)
		_, isConsumer := opt.(kgo.ConsumerOpt)
		if isGroup || isConsumer {
			return errors.New("it has options for consumers; a relay only produces")
		}
	}
	opts := c.clientOptions()
	if err := kgo.ValidateOpts(opts...); err != nil {
		return err
	}
	var problems []error
	kgoask.Client(opts, func(client *kgo.Client) {
		if client.OptValue(kgo.DisableIdempotentWrite) == true {
			problems = append(problems, errors.New("DisableIdempotentWrite is set, but without idempotence messages may lose their order; remove it"))
		}
		if client.OptValue(kgo.AllowIdempotentProduceCancellation) == true {
			problems = append(problems, errors.New("AllowIdempotentProduceCancellation is set; remove it"))
		}
		if client.OptValue(kgo.ManualFlushing) == true {
			problems = append(problems, errors.New("ManualFlushing is set, so nothing would be sent; remove it"))
		}
		if client.OptValue(kgo.DefaultProduceTopicAlways) == true {
			problems = append(problems, errors.New("DefaultProduceTopicAlways is set, so all messages would go to one topic; remove it"))
		}
		if id, ok := client.OptValue(kgo.TransactionalID).(string); ok && id != "" {
			problems = append(problems, errors.New("TransactionalID is set; set Config.TransactionalID instead"))
		}
	})
	return errors.Join(problems...)
}
