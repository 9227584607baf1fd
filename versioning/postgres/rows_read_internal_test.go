package postgres

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/versioning"
)

// The messages of each entity stay as they were, however many others come after them.
func TestMessageStore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		counts := rapid.SliceOfN(rapid.IntRange(0, firstSteps+1), 200, 300).Draw(t, "messages of each entity")
		store := messageStore{most: (firstSteps + 1) * len(counts)}
		all, want := make([][]versioning.Message, len(counts)), make([][]versioning.Message, len(counts))
		for i, n := range counts {
			store.begin()
			for k := range n {
				id := fmt.Sprint(i, "/", k, strings.Repeat("x", (i*k)%50))
				all[i] = store.add(text(id), versioning.Digest(k))
				want[i] = append(want[i], versioning.Message{ID: id, Digest: versioning.Digest(k)})
			}
		}
		for i := range all {
			if !slices.Equal(all[i], want[i]) {
				t.Errorf("entity %d has %v, want %v", i, all[i], want[i])
			}
		}
	})
}
