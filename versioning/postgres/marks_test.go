package postgres_test

import (
	"errors"
	"testing"

	"github.com/pawl-go/pawl/versioning"
)

// TestRestoredOnTheSameServer replaces the framework's tables, or restores their
// earlier content, while the server keeps running.
func TestRestoredOnTheSameServer(t *testing.T) {
	t.Parallel()
	for restore, seen := range map[string]bool{ // whether Apply notices
		`ALTER TABLE pawl.marks RENAME TO former; CREATE TABLE pawl.marks (LIKE pawl.former INCLUDING ALL);
INSERT INTO pawl.marks SELECT * FROM pawl.former; DROP TABLE pawl.former`: true,
		`UPDATE pawl.marks SET "offset" = 3`: false,
		`DELETE FROM pawl.marks`:             false,
	} {
		t.Run(restore, func(t *testing.T) {
			t.Parallel()
			pool, store := openOrders(t)
			l := &log{}
			topic := [16]byte{1}
			_, server, err := store.Marks(t.Context(), "g", [][16]byte{topic})
			if err != nil {
				t.Fatal(err)
			}
			set := func(offset, last int64) error {
				return store.SetMarks(t.Context(), "g", server, []versioning.Mark{{Topic: "orders", TopicID: topic, Offset: offset, Last: last}})
			}
			if err := errors.Join(set(4, 0), set(5, 4)); err != nil {
				t.Fatal(err)
			}
			mustExec(t, pool, restore)
			r := l.say("a", "placed")
			store.Prepare(r)
			if _, err := store.Apply(t.Context(), server, []*versioning.Record{r}); errors.Is(err, versioning.ErrServerChanged) != seen {
				t.Errorf("Apply = %v", err)
			}
			before := query(t, pool, `SELECT "offset"::text FROM pawl.marks`)
			if err := set(6, 5); !errors.Is(err, versioning.ErrServerChanged) {
				t.Errorf("SetMarks = %v, want ErrServerChanged", err)
			}
			wantRows(t, pool, `SELECT "offset"::text FROM pawl.marks`, append([]string(nil), before...)...)
		})
	}
}
