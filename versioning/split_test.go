package versioning_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/versioning"
)

func TestSplit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(-1, 5).Draw(t, "lists")
		keys := rapid.SliceOf(rapid.SliceOfN(rapid.IntRange(0, 12), 0, 3)).Draw(t, "keys of each record")
		records := make([]*versioning.Record, len(keys))
		for i := range keys {
			records[i] = &versioning.Record{}
			for _, k := range keys[i] {
				records[i].Changes = append(records[i].Changes, versioning.Change{Machine: fmt.Sprint("m", k%2), Key: fmt.Sprint(k)})
			}
		}
		lists, index := versioning.Split(records, nil, n)
		if len(lists) != max(n, 1) || len(index) != len(lists) {
			t.Fatalf("%d lists and %d indexes, want %d", len(lists), len(index), n)
		}
		seen := make([]int, len(records))
		home := make(map[versioning.Entity]int)
		for s := range lists {
			if len(lists[s]) != len(index[s]) || !slices.IsSorted(index[s]) {
				t.Fatalf("list %d of %d records has the index %v", s, len(lists[s]), index[s])
			}
			for i, r := range lists[s] {
				if records[index[s][i]] != r {
					t.Fatalf("index %d of list %d leads to another record", i, s)
				}
				seen[index[s][i]]++
				for _, c := range r.Changes {
					e := versioning.Entity{Machine: c.Machine, Key: c.Key}
					if at, ok := home[e]; ok && at != s {
						t.Fatalf("%s is in the lists %d and %d", e, at, s)
					}
					home[e] = s
				}
			}
		}
		for i, times := range seen {
			if times != 1 {
				t.Fatalf("record %d is in %d lists", i, times)
			}
		}
	})
}

// TestSplitSpreads checks that records of many entities spread over all lists.
func TestSplitSpreads(t *testing.T) {
	t.Parallel()
	var l log
	var records []*versioning.Record
	for i := range 1000 {
		records = append(records, l.say(key(i), "placed"))
	}
	lists, _ := versioning.Split(records, nil, 4)
	for i, list := range lists {
		if len(list) < 150 {
			t.Errorf("list %d has %d of 1000 records", i, len(list))
		}
	}
}
