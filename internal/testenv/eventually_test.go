package testenv

import (
	"strings"
	"testing"
	"time"
)

func TestEventuallyWaits(t *testing.T) {
	t.Parallel()
	calls := 0
	Eventually(t, time.Minute, func() error {
		if calls++; calls < 3 {
			return errBroken
		}
		return nil
	})
	if calls != 3 {
		t.Errorf("%d calls, want 3", calls)
	}
}

func TestEventuallyGivesUp(t *testing.T) {
	t.Parallel()
	r := &recorder{TB: t}
	r.run(func(tb testing.TB) {
		tb.Helper()
		Eventually(tb, time.Millisecond, func() error { return errBroken })
	})
	if len(r.failures) != 1 || !strings.Contains(r.failures[0], errBroken.Error()) {
		t.Errorf("failures %q, want one with the last error", r.failures)
	}
}
