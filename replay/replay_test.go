package replay_test

import (
	"testing"

	"github.com/pawl-go/pawl/internal/banklog"
	"github.com/pawl-go/pawl/replay"
	"github.com/pawl-go/pawl/versioning"
)

var someFaults = banklog.Faults{Redelivered: 0.05, Moved: 0.05, MovedBy: 20, Extra: 0.01, First: "opened"}

// TestDryRunSaysWhatApplyDoes checks that a dry run over an empty database, and one over a part of
// the work, count as Apply does then, and write nothing.
func TestDryRunSaysWhatApplyDoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, synthetic(300), someFaults)
	for _, part := range []string{"everything", "the rest", "nothing"} {
		cfg := w.cfg
		cfg.MaxBatch = 200 // several batches, and several lists
		if part == "everything" {
			half := make(map[int32]int64)
			for _, r := range w.must(replay.DryRun(t.Context(), cfg)).Ranges {
				half[r.Partition] = r.End / 2
			}
			cfg.From.Offsets = map[string]map[int32]int64{w.topic: half}
		}
		before := w.digest()
		dry := w.must(replay.DryRun(t.Context(), cfg))
		if after := w.digest(); after != before {
			t.Errorf("%s: a dry run has changed the database", part)
		}
		done := w.must(replay.Apply(t.Context(), cfg))
		for _, v := range []versioning.Verdict{versioning.Ignored, versioning.Duplicate, versioning.Applied, versioning.Early, versioning.Rejected, versioning.Diverged} {
			if dry.Of(v) != done.Of(v) {
				t.Errorf("%s: %v: the dry run has %d, and Apply %d\n%v\n%v", part, v, dry.Of(v), done.Of(v), dry, done)
			}
		}
		t.Logf("%s:\n%v", part, done)
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	w := newWorld(t, synthetic(300), someFaults)
	w.must(replay.Apply(t.Context(), w.cfg))
	report := w.must(replay.Verify(t.Context(), w.cfg))
	t.Log(report)
	if !report.Clean() || report.Verified.Entities != 300 {
		t.Errorf("%v", report)
	}
}
