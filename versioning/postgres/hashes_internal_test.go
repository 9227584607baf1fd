package postgres

import (
	"hash/fnv"
	"testing"
)

// The hashes of today are compared with those of years ago, so they must not change.
func TestHashOf(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"", "a", "0197a3f2-0000-7000-8000-000000000001", "é\x00"} {
		h := fnv.New32a()
		_, _ = h.Write([]byte(id))
		if got := hashOf(id); got != h.Sum32() {
			t.Errorf("hashOf(%q) = %d, not FNV-1a, %d", id, got, h.Sum32())
		}
	}
}
