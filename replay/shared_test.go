package replay_test

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/pawl-go/pawl/replay"
	"github.com/pawl-go/pawl/versioning"
)

// TestSharedWithElsewhere has a record about two entities, of which the topic has lost the first
// record of one. The topic does not make the other one's step either, so that one is compared only
// up to there, and a rebuild, which would take the step away, is refused.
func TestSharedWithElsewhere(t *testing.T) {
	t.Parallel()
	w := newNotes(t, 1)
	w.cfg.Decode = func(r *versioning.Record) ([]versioning.Change, error) {
		changes, err := decode(r)
		if keys := strings.Fields(string(r.Key)); err == nil && len(keys) > 1 {
			second := changes[0]
			changes[0].Key, second.Key = keys[0], keys[1]
			changes = append(changes, second)
		}
		return changes, err
	}
	w.send(0, "1", "opened", "o1")
	w.send(0, "2", "opened", "o2")
	w.send(0, "1 2", "noted", "both")
	w.send(0, "3", "opened", "o3")
	w.must(replay.Apply(t.Context(), w.cfg))
	w.send(0, "2", "checked", "c2")
	w.must(replay.Apply(t.Context(), w.cfg))
	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: w.topic, Partition: 0, At: 1})
	deleted, err := w.admin().DeleteRecords(t.Context(), offsets)
	if err == nil {
		err = deleted.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	if report := w.must(replay.Verify(t.Context(), w.cfg)); !report.Clean() || report.Verified.Cut != 2 || report.Verified.Whole != 1 {
		t.Errorf("%v", report)
	}
	before := w.digest()
	report := w.must(replay.Rebuild(t.Context(), w.cfg, versioning.Entity{Machine: "notes", Key: "1"}, versioning.Entity{Machine: "notes", Key: "2"}))
	if b := report.Rebuilt; b.Entities != 0 || b.Refused != 2 {
		t.Errorf("%v", report)
	}
	if w.digest() != before {
		t.Error("a refused rebuild has changed something")
	}
	w.exec(`UPDATE pawl.transitions SET message_id = 'other' WHERE entity = '2' AND version = 1`) // before the cut
	if report := w.must(replay.Verify(t.Context(), w.cfg)); report.Verified.Different != 1 || report.Verified.Differences[0].Entity != "2" {
		t.Errorf("a difference before the step from elsewhere: %v", report)
	}
}
