package redis

import (
	"strings"
	"testing"
	"time"
)

// FuzzHeld reads what may be in Redis. It must not panic, and takes nothing for a response or a
// lock that this package has not written.
func FuzzHeld(f *testing.F) {
	lock := newLock(time.Second)
	for _, value := range []string{
		"", "L", "R", "Rx", "R\x00", lock, lock[:len(lock)-1], lock + "=", "L01" + lock[2:], "L-1" + lock[5:], "L0" + lock[5:],
		"L9223372036854775807" + lock[5:], "L+1" + lock[5:], "l" + lock[1:], "of another program",
	} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		held := parse(value)
		if isResponse := len(value) > 1 && value[0] == 'R'; (held.response != nil) != isResponse {
			t.Errorf("%q: response %q", value, held.response)
		}
		if held.response != nil && (response+string(held.response) != value || held.lease != 0) {
			t.Errorf("%q is %+v", value, held)
		}
		if held.lease < 0 || held.lease%time.Millisecond != 0 {
			t.Errorf("%q: lease %v", value, held.lease)
		}
		if prefix := locked + milliseconds(held.lease) + ":"; held.lease > 0 && (!strings.HasPrefix(value, prefix) || len(value)-len(prefix) < 26) {
			t.Errorf("%q is a lock of %v", value, held.lease)
		}
	})
}

// TestNewLock checks that locks are recognized.
func TestNewLock(t *testing.T) {
	t.Parallel()
	for _, lease := range []time.Duration{leastLease, 1500 * time.Millisecond, 1000 * time.Hour} {
		if held := parse(newLock(lease)); held.lease != lease || held.response != nil {
			t.Errorf("%v: %+v", lease, held)
		}
	}
}
