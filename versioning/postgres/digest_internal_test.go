package postgres

import (
	"fmt"
	"hash/fnv"
	"strings"
	"testing"

	"github.com/pawl-go/pawl/versioning"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pawl-go/pawl/statemachine"
)

// TestDigest checks that all builds and processes compute the same digest for a change,
// and that different changes have different digests.
func TestDigest(t *testing.T) {
	t.Parallel()
	table := &table{columns: []tableColumn{{name: "a"}, {name: "b"}}}
	types := &types{typ: pgtype.NewMap()}
	digest := func(event statemachine.Event, set versioning.Columns) versioning.Digest {
		c := &versioning.Change{Event: event, Set: set}
		var columns []column
		for i, name := range []string{"a", "b"} {
			if v, ok := set[name]; ok {
				columns = append(columns, column{at: i, text: fmt.Sprint(v)})
			}
		}
		d := types.digest(table, c, columns)
		if unfit := types.digest(table, c, nil); unfit != d {
			t.Errorf("digest %d of %v if its columns fit, %d if they do not", d, set, unfit)
		}
		return d.Sum()
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte("placed\xffa\xffone\xffb\xff\xfe"))
	if got := digest("placed", versioning.Columns{"a": "one", "b": nil}); got != versioning.Digest(h.Sum64()) {
		t.Errorf("digest %d, want FNV-1a of what the change says, %d", got, int64(h.Sum64()))
	}
	seen := make(map[versioning.Digest]int)
	for i, d := range []versioning.Digest{
		digest("placed", nil),
		digest("placeda", nil),
		digest("placed", versioning.Columns{"a": ""}),
		digest("placed", versioning.Columns{"a": nil}),
		digest("placed", versioning.Columns{"b": ""}),
		digest("placed", versioning.Columns{"a": "1", "b": "2"}),
		digest("placed", versioning.Columns{"a": "2", "b": "1"}),
		digest("placed", versioning.Columns{"a": "12", "b": ""}),
		digest("placed", versioning.Columns{"a": "", "b": "12"}),
		digest("placed", versioning.Columns{"a": "b12"}),
		digest("placed", versioning.Columns{"a": strings.Repeat("1", 1<<16)}),
	} {
		if before, again := seen[d]; again || d == 0 {
			t.Errorf("change %d has the digest of change %d", i, before)
		}
		seen[d] = i
	}
	if new(versioning.Digester).Sum() == 0 {
		t.Error("a digest is 0, which means that it is unknown")
	}
	plain := &versioning.Record{Changes: []versioning.Change{{Event: "placed", Set: versioning.Columns{"b": nil, "a": "one"}}}}
	if got := plain.Digest(0); got != versioning.Digest(h.Sum64()) {
		t.Errorf("digest of a change that no table has prepared: %d", got)
	}
}
