package replay_test

import (
	"testing"

	"github.com/pawl-go/pawl/replay"
	"github.com/pawl-go/pawl/versioning"
)

// TestOlderThanTheTopic has rows that are older than the history and the topic: of one, the topic
// has made the last step, of one none. They are no differences, and no rebuild deletes them. A row
// whose history was only pruned is made anew.
func TestOlderThanTheTopic(t *testing.T) {
	t.Parallel()
	w := newNotes(t, 1)
	w.exec(`INSERT INTO cases (id, state, version) VALUES (101, 'open', 7), (102, 'open', 7)`)
	w.send(0, "101", "noted", "1")
	w.send(0, "103", "opened", "2")
	w.send(0, "103", "noted", "3")
	w.must(replay.Apply(t.Context(), w.cfg))
	if n := w.text(`SELECT string_agg(concat_ws(' ', entity, version), ', ' ORDER BY entity, version) FROM pawl.transitions`); n != "101 8, 103 1, 103 2" {
		t.Fatal(n)
	}
	if report := w.must(replay.Verify(t.Context(), w.cfg)); !report.Clean() || report.Verified.Cut != 1 || report.Verified.Whole != 2 {
		t.Errorf("%v", report)
	}
	w.exec(`DELETE FROM pawl.transitions WHERE entity = '103' AND version = 1`)
	w.exec(`UPDATE cases SET state = 'wrong' WHERE id = 103`)
	rebuilt := func(refused int64, keys ...string) {
		t.Helper()
		var entities []versioning.Entity
		for _, key := range keys {
			entities = append(entities, versioning.Entity{Machine: "notes", Key: key})
		}
		report := w.must(replay.Rebuild(t.Context(), w.cfg, entities...))
		if got := report.Rebuilt; got.Entities != 1 || got.Refused != refused {
			t.Errorf("%v", report)
		}
		if rows := w.text(`SELECT string_agg(concat_ws(' ', id, state, version), ', ' ORDER BY id) FROM cases`); rows != "101 open 8, 102 open 7, 103 open 2" {
			t.Error(rows)
		}
	}
	rebuilt(0)
	w.exec(`UPDATE cases SET state = 'wrong' WHERE id = 103`)
	rebuilt(2, "101", "102", "103")
}
