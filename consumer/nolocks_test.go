//go:build !synctests

package consumer_test

import (
	"os/exec"
	"testing"
)

// locksLetTimePass reports whether the Kafka client uses locks that work with a bubble's clock.
const locksLetTimePass = false

// TestSeveralWorkers runs the tests that severalWorkers skips.
func TestSeveralWorkers(t *testing.T) {
	t.Parallel()
	args := []string{"test", "-tags", "synctests", "-run", testsOfSeveralWorkers}
	if underRace {
		args = append(args, "-race")
	}
	output, err := exec.CommandContext(t.Context(), "go", append(args, ".")...).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}
