package consumer

import (
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// fetchMaxBytes is what one fetch brings, as it is sent: as a rule, compressed. It
// is several batches of common records, so that the next ones are there in time.
const fetchMaxBytes = 4 << 20

// clientOptions returns the options of the Kafka client: our defaults, the
// user's options, and then those that the worker's promises rest on. The last
// one of a kind wins.
func (c Config) clientOptions() []kgo.Opt {
	opts := []kgo.Opt{
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		// The Java client's: a partition that is taken over waits for the fetch
		// that is under way, and a broker holds that for so long.
		kgo.FetchMaxWait(500 * time.Millisecond),
		// What has arrived waits in memory, unpacked, beside the batches in work: a
		// fetch of each broker. The client's 50 MiB would be several hundred there.
		kgo.FetchMaxBytes(fetchMaxBytes),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.RebalanceTimeout(max(time.Minute, 2*c.RebalanceHold)),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
	}
	opts = append(opts, c.Client...)
	if c.Protocol == Consumer {
		// Any other balancer would quietly mean the classic protocol.
		opts = append(opts, kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer()))
	}
	if c.DeadLetterTopic != nil {
		opts = append(opts, kgo.RequiredAcks(kgo.AllISRAcks()))
	}
	return append(opts,
		kgo.ConsumerGroup(c.Group),
		kgo.ConsumeTopics(c.Topics...),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		// Markers of transactions take up offsets: a worker that never saw them
		// would seem to lag behind the end of the log for ever.
		kgo.KeepControlRecords(),
	)
}

// validateClient asks the Kafka client about its options. It can't be asked
// which ones are set before there is a client, so those that would break the
// worker are found by what they do not go together with.
func (c Config) validateClient() (problems []error) {
	opts := c.clientOptions()
	if err := kgo.ValidateOpts(opts...); err != nil {
		return []error{err}
	}
	with := func(probe ...kgo.Opt) bool {
		return kgo.ValidateOpts(append(slices.Clip(opts), probe...)...) == nil
	}
	if !with(kgo.ConsumeTopics("(")) {
		problems = append(problems, errors.New("ConsumeRegex would make Topics regular expressions; list the topics"))
	}
	if !with(kgo.AllowIdempotentProduceCancellation()) {
		problems = append(problems, errors.New("TransactionalID is for producers; the worker's commits are no part of a Kafka transaction"))
	}
	return problems
}
