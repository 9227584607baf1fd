//go:build !synctests

package sim

import (
	"os/exec"
	"testing"
)

// With the build tag synctests, the Kafka client uses locks that work with a
// bubble's clock. Without it, a commit that waits for a rebalance stops the
// clock forever, so these tests need the tag.
func TestWithTag(t *testing.T) {
	t.Parallel()
	output, err := exec.CommandContext(t.Context(), "go", "test", "-tags", "synctests", ".").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}
