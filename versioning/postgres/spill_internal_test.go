package postgres

import (
	"fmt"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pawl-go/pawl/versioning"
)

// TestSpill writes entities, some of them several times, and reads each as it was written last.
func TestSpill(t *testing.T) {
	t.Parallel()
	var s spill
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	want := make(map[versioning.Entity]*imaginedEntity)
	for round := range 3 {
		some := make(map[versioning.Entity]*imaginedEntity)
		for i := round * 50; i < 100+round*50; i++ {
			e := &imaginedEntity{
				row: versioning.Row{State: "state", Version: int64(round + i)}, first: int64(round),
				steps: []versioning.PastStep{
					{Event: "first", MessageID: fmt.Sprint(i), Origin: versioning.Origin{Topic: "t", TopicID: [16]byte{1, 2}, Partition: 3, Offset: int64(i)}, Digest: -5},
					{},
				},
			}
			if i%2 == 0 {
				e.row.Data = &rowData{cells: []cell{{value: "1", isSet: true}, {}, {value: "\x00", isSet: true, format: 1}}}
			}
			some[versioning.Entity{Machine: "m", Key: fmt.Sprint(i)}] = e
		}
		if err := s.put(some, func(string) *rowType { return nil }); err != nil {
			t.Fatal(err)
		}
		maps.Copy(want, some)
	}
	options := cmp.Options{cmp.AllowUnexported(imaginedEntity{}, rowData{}, cell{}), cmpopts.IgnoreFields(rowData{}, "row", "one")}
	for name, e := range want {
		got, err := s.get(name)
		if diff := cmp.Diff(e, got, options); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", name.Key, err, diff)
		}
	}
	if got, err := s.get(versioning.Entity{Machine: "m", Key: "none"}); got != nil || err != nil {
		t.Errorf("an entity that was not put: %v, %v", got, err)
	}
	// Entities with the same hash form a chain.
	for name := range want {
		s.last[s.hash(versioning.Entity{Machine: "other", Key: name.Key})] = s.last[s.hash(name)]
	}
	for name := range want {
		other := versioning.Entity{Machine: "other", Key: name.Key}
		if got, err := s.get(other); got != nil || err != nil {
			t.Fatalf("another entity with the same hash: %v, %v", got, err)
		}
	}
}
