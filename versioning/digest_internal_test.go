package versioning

import (
	"hash/fnv"
	"strings"
	"testing"
)

// TestDigest checks that digests are what other builds and processes make of the same
// change, and that changes that differ have different ones.
func TestDigest(t *testing.T) {
	t.Parallel()
	table := &table{columns: []tableColumn{{name: "a"}, {name: "b"}}}
	h := fnv.New64a()
	_, _ = h.Write([]byte("placed\xffa\xffone\xffb\xff\xfe"))
	if got := table.digestOfColumns("placed", []column{{at: 0, text: "one"}, {at: 1, null: true}}); got != Digest(h.Sum64()) {
		t.Errorf("digest %d, want FNV-1a of what the change says, %d", got, int64(h.Sum64()))
	}
	seen := make(map[Digest]int)
	for i, d := range []Digest{
		table.digestOfColumns("placed", nil),
		table.digestOfColumns("placeda", nil),
		table.digestOfColumns("placed", []column{{at: 0}}),
		table.digestOfColumns("placed", []column{{at: 0, null: true}}),
		table.digestOfColumns("placed", []column{{at: 1}}),
		table.digestOfColumns("placed", []column{{at: 0, text: "1"}, {at: 1, text: "2"}}),
		table.digestOfColumns("placed", []column{{at: 0, text: "2"}, {at: 1, text: "1"}}),
		table.digestOfColumns("placed", []column{{at: 0, text: "12"}, {at: 1}}),
		table.digestOfColumns("placed", []column{{at: 0}, {at: 1, text: "12"}}),
		table.digestOfColumns("placed", []column{{at: 0, text: "b12"}}),
		table.digestOfColumns("placed", []column{{at: 0, text: strings.Repeat("1", 1<<16)}}),
	} {
		if before, again := seen[d]; again || d == 0 {
			t.Errorf("change %d has the digest of change %d", i, before)
		}
		seen[d] = i
	}
	if new(digester).sum() == 0 {
		t.Error("a digest is 0, which means that it is unknown")
	}
	plain := &Record{Changes: []Change{{Event: "placed", Set: Columns{"b": nil, "a": "one"}}}}
	if got := plain.digest(0); got != Digest(h.Sum64()) {
		t.Errorf("digest of a change that no table has prepared: %d", got)
	}
}
