package replay_test

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"

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
		if diff := cmp.Diff(fates(dry), fates(done)); diff != "" {
			t.Errorf("%s (-dry run, +applied):\n%s\n%v\n%v", part, diff, dry, done)
		}
		t.Logf("%s:\n%v", part, done)
	}
}

// fates counts the records by what became of them in the end. Whether a record is parked first, and
// then released, depends on where a batch ends.
func fates(r *replay.Report) map[string]int64 {
	all := make(map[string]int64)
	for _, c := range r.Verdicts {
		all[c.Verdict] += c.Records
	}
	for _, c := range r.Released {
		all[c.Verdict] += c.Records
		all[versioning.Early.String()] -= c.Records
	}
	maps.DeleteFunc(all, func(_ string, n int64) bool { return n == 0 })
	return all
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
