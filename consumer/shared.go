package consumer

import (
	"errors"
	"fmt"

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
