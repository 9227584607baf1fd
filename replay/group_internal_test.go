package replay

import (
	"context"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
)

// TestAskCoordinatorIsCancelled cancels a call while the coordinator is not available.
func TestAskCoordinatorIsCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	_, err := askCoordinator(ctx, func() (int, error) {
		cancel()
		return 0, kerr.CoordinatorNotAvailable
	})
	if !errors.Is(err, context.Canceled) || !errors.Is(err, kerr.CoordinatorNotAvailable) {
		t.Error(err)
	}
}
