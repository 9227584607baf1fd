package consumer

import (
	"errors"
	"fmt"

	"github.com/cenkalti/backoff/v5"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/versioning"
)

// shared is what the parts of a run have in common. Its fields do not change once the run
// has started, and are safe for concurrent use.
type shared struct {
	cfg        Config
	vitals     *vitals // shared by the worker's runs
	partitions *partitions
	log        *logger
	client     *kgo.Client
	end        func(error) // ends the run with an error
}

// endFatal ends the run if retrying cannot fix the store's error.
func (s *shared) endFatal(err error) {
	if errors.Is(err, versioning.ErrFatal) || errors.Is(err, errStore) {
		s.end(s.cantContinue(err))
	}
}

// cantContinue wraps an error that ends the run. nil stays nil.
func (s *shared) cantContinue(err error) error {
	if err != nil {
		err = fmt.Errorf("worker of group %q can't continue: %w", s.cfg.Group, err)
	}
	return err
}

func (s *shared) backOff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = s.cfg.RetryMin, s.cfg.RetryMax
	b.Reset()
	return b
}

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
func (s *shared) fatal(err error, topic string) error {
	for _, end := range notRetryable {
		switch {
		case !errors.Is(err, end):
		case topic == "":
			return fmt.Errorf("consume as group %q: %w", s.cfg.Group, err)
		default:
			return fmt.Errorf("consume topic %q as group %q: %w", topic, s.cfg.Group, err)
		}
	}
	return nil
}
