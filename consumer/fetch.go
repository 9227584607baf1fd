package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// notRetryable are the broker's errors that retrying cannot fix.
var notRetryable = []error{
	kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed,
	kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism,
	kerr.InvalidGroupID, kerr.InvalidTopicException, kerr.InconsistentGroupProtocol, kerr.InvalidSessionTimeout,
	kerr.FencedInstanceID, // another worker runs with this instance ID
	kerr.OffsetOutOfRange, // returned only if Config.Client turns resetting offsets off
	kerr.UnsupportedVersion,
}

// fatal returns the error with which the run ends, or nil if a retry may succeed.
func (r *run) fatal(err error, topic string) error {
	for _, end := range notRetryable {
		switch {
		case !errors.Is(err, end):
		case topic == "":
			return fmt.Errorf("consume as group %q: %w", r.cfg.Group, err)
		default:
			return fmt.Errorf("consume topic %q as group %q: %w", topic, r.cfg.Group, err)
		}
	}
	return nil
}

// fetchErrors handles the errors of a fetch. failed reports whether there were any; err is
// the one that ends the run, or nil.
func (r *run) fetchErrors(ctx context.Context, fetches kgo.Fetches) (failed bool, err error) {
	recreated := make(map[string]bool)
	fetches.EachError(func(topic string, id int32, problem error) {
		switch {
		case errors.Is(problem, context.Canceled), errors.Is(problem, context.DeadlineExceeded):
			return // the poll ended
		case errors.Is(problem, errFull):
			return // the client fetches the records again
		case errors.Is(problem, kgo.ErrClientClosed):
			err = fmt.Errorf("consume: %w", problem)
			return
		case errors.Is(problem, kerr.UnknownTopicID):
			recreated[topic] = true
		}
		if errors.Is(problem, kgo.ErrMaxDecompress) {
			r.partitions.cantUnpack(partition{topic, id}, problem)
			r.log.cantUnpack(topic, id, problem)
			return // the client has stopped fetching the partition
		}
		failed = true
		r.vitals.failedToFetch(partition{topic, id}.String(), problem)
		r.log.fetch(topic, id, problem)
		err = errors.Join(err, r.fatal(problem, topic))
	})
	for topic := range recreated {
		r.readRecreated(topic)
	}
	if len(recreated) > 0 {
		r.client.AllowRebalance()
		sleep(ctx, resubscribeTime)
	}
	return failed, err
}

// resubscribeTime is how long the worker waits for the client to switch to a re-created topic.
// The client switches in the background. A poll in that time returns what is still buffered
// and may set back the position that the client has just found in the new topic (franz-go
// 1.22.2).
const resubscribeTime = time.Second

// readRecreated switches to the new topic after a topic was re-created. The client reads the
// new topic only after it was made to forget the old one. The worker forgets it too, so that
// it does not commit offsets of the old topic for the new one, which has the same name.
func (r *run) readRecreated(topic string) {
	r.gates.whileOwned(func() {
		r.partitions.forgetTopic(topic)
		r.client.PurgeTopicsFromConsuming(topic)
		r.client.AddConsumeTopics(topic)
	})
}
