//go:build !synctests

package sim

import (
	"os/exec"
	"testing"
)

// The Kafka client's locks are ones that a bubble's clock knows only with the
// build tag synctests: without it, a commit that waits for a rebalance stops the
// clock for ever. So the tests are run with it.
func TestWithTag(t *testing.T) {
	t.Parallel()
	output, err := exec.CommandContext(t.Context(), "go", "test", "-tags", "synctests", ".").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}
