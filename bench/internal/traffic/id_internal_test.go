package traffic

import (
	"fmt"
	"hash/fnv"
	"testing"
)

// TestMessageID checks that IDs have the form of a UUID and depend on key and number.
func TestMessageID(t *testing.T) {
	t.Parallel()
	for n := range 200 {
		h := fnv.New128a()
		fmt.Fprintf(h, "ord-x#%d", n)
		b := h.Sum(nil)
		if want, got := fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), messageID("ord-x", n); got != want {
			t.Fatalf("%d: %s, not %s", n, got, want)
		}
	}
}
