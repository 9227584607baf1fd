package versioning_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/versioning"
)

// TestEmittedIDs checks that different messages have different IDs, whatever is in their
// names, and that IDs are short enough for a Pawl that consumes them.
func TestEmittedIDs(t *testing.T) {
	t.Parallel()
	name := rapid.OneOf(rapid.StringMatching(`[a/#%0-9]{0,4}`), rapid.Just(strings.Repeat("k", 600)), rapid.Just(strings.Repeat("k", 601)))
	message := rapid.Custom(func(t *rapid.T) versioning.Emitted {
		return versioning.Emitted{
			Entity:  versioning.Entity{Machine: rapid.StringMatching(`[a/#%0-9]{1,4}`).Draw(t, "machine"), Key: name.Draw(t, "key")},
			Version: rapid.Int64Range(1, 12).Draw(t, "version"), Index: rapid.IntRange(0, 12).Draw(t, "index"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := message.Draw(t, "a"), message.Draw(t, "b")
		same := a.Entity == b.Entity && a.Version == b.Version && a.Index == b.Index
		if (a.ID() == b.ID()) != same {
			t.Fatalf("IDs %q and %q", a.ID(), b.ID())
		}
		if len(a.ID()) > 700 {
			t.Fatalf("an ID has %d bytes", len(a.ID()))
		}
	})
}
