package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// unmendable are the broker's answers that no retry can change.
var unmendable = []error{
	kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed,
	kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism,
	kerr.InvalidGroupID, kerr.InvalidTopicException, kerr.InconsistentGroupProtocol, kerr.InvalidSessionTimeout,
	kerr.FencedInstanceID, // another worker runs with this instance ID
	kerr.OffsetOutOfRange, // reported only to those who asked for no reset
	kerr.UnsupportedVersion,
}

// fatal returns the error that ends the run for it, or nil if a retry may do
// better.
func (r *run) fatal(err error, topic string) error {
	for _, end := range unmendable {
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

// fetchErrors deals with the errors of a fetch. failed tells whether there were
// any; err is one that ends the run.
func (r *run) fetchErrors(ctx context.Context, fetches kgo.Fetches) (failed bool, err error) {
	recreated := make(map[string]bool)
	fetches.EachError(func(topic string, id int32, problem error) {
		switch {
		case errors.Is(problem, context.Canceled), errors.Is(problem, context.DeadlineExceeded):
			return // how a poll ends
		case errors.Is(problem, errFull):
			return // it is fetched again
		case errors.Is(problem, kgo.ErrClientClosed):
			err = fmt.Errorf("consume: %w", problem)
			return
		case errors.Is(problem, kerr.UnknownTopicID):
			recreated[topic] = true
		}
		if errors.Is(problem, kgo.ErrMaxDecompress) {
			r.partitions.cantUnpack(partition{topic, id}, problem)
			r.log.cantUnpack(topic, id, problem)
			return // the client does not fetch the partition any more
		}
		failed = true
		r.vitals.failedToFetch(partition{topic, id}.String(), problem)
		r.log.fetch(topic, id, problem)
		err = errors.Join(err, r.fatal(problem, topic))
	})
	for topic := range recreated {
		r.readAnew(topic)
	}
	if len(recreated) > 0 {
		r.client.AllowRebalance()
		sleep(ctx, resubscribeTime)
	}
	return failed, err
}

// resubscribeTime is what the client gets to go over to a topic that was made anew.
// It does so behind our backs: a poll meanwhile, of whatever is still buffered, may
// set back the position that it has just found in the new one (franz-go 1.22.2).
const resubscribeTime = time.Second

// readAnew starts over with a topic that was deleted and made again. The client
// goes on with the new one only if it is told to forget the old. Offsets of the
// old one must not be committed for the new one, which has the same name.
func (r *run) readAnew(topic string) {
	r.gates.whileOwned(func() {
		r.partitions.forgetTopic(topic)
		r.client.PurgeTopicsFromConsuming(topic)
		r.client.AddConsumeTopics(topic)
	})
}
