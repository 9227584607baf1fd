package replay_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/replay"
)

// TestMoveWhatWasPlanned lets things change between the plan and the move, and wants exactly the
// plan to be carried out, or nothing.
func TestMoveWhatWasPlanned(t *testing.T) {
	t.Parallel()
	w := newNotes(t, 2)
	for _, id := range []string{"a", "b", "c", "d"} {
		w.send(0, "1", "opened", id)
		w.send(1, "2", "opened", id)
	}
	adm := w.admin()
	cfg := w.cfg
	cfg.Group = w.group()
	commit := func(p int32, at int64) {
		t.Helper()
		var offsets kadm.Offsets
		offsets.Add(kadm.Offset{Topic: w.topic, Partition: p, At: at, LeaderEpoch: -1})
		if err := adm.CommitAllOffsets(t.Context(), cfg.Group, offsets); err != nil {
			t.Fatal(err)
		}
	}
	at := func() []int64 {
		t.Helper()
		all, err := adm.FetchOffsets(t.Context(), cfg.Group)
		if err != nil {
			t.Fatal(err)
		}
		var offsets []int64
		for p := range int32(2) {
			o, _ := all.Lookup(w.topic, p)
			offsets = append(offsets, o.At)
		}
		return offsets
	}
	plan := func() []replay.Move {
		t.Helper()
		moves, err := replay.PlanOffsets(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		return moves
	}
	wantAt := func(want ...int64) {
		t.Helper()
		if diff := cmp.Diff(want, at()); diff != "" {
			t.Errorf("offsets (-want, +got):\n%s", diff)
		}
	}
	commit(0, 4)
	commit(1, 0)
	shown := plan() // partition 1 is there already
	commit(1, 3)    // a plan that is made now would move it too
	if err := replay.MoveOffsets(t.Context(), cfg, shown); err != nil {
		t.Error(err)
	}
	wantAt(0, 3)

	shown = plan()
	commit(1, 4)
	if err := replay.MoveOffsets(t.Context(), cfg, shown); !errors.Is(err, replay.ErrPlanChanged) {
		t.Errorf("the group has gone on: %v", err)
	}
	wantAt(0, 4)

	shown = plan()
	var upTo kadm.Offsets
	upTo.Add(kadm.Offset{Topic: w.topic, Partition: 1, At: 2})
	if _, err := adm.DeleteRecords(t.Context(), upTo); err != nil {
		t.Fatal(err)
	}
	if err := replay.MoveOffsets(t.Context(), cfg, shown); !errors.Is(err, replay.ErrPlanChanged) {
		t.Errorf("the records are gone: %v", err)
	}
	wantAt(0, 4)

	shown[0].Partition = 7
	if err := replay.MoveOffsets(t.Context(), cfg, shown); !errors.Is(err, replay.ErrConfig) {
		t.Errorf("a partition that does not exist: %v", err)
	}
	if err := replay.MoveOffsets(t.Context(), cfg, nil); err != nil {
		t.Errorf("nothing to move: %v", err)
	}
}

// TestPlanOfAnEarlierTopic creates the topic again after the plan was made. Its offsets fit the plan.
func TestPlanOfAnEarlierTopic(t *testing.T) {
	t.Parallel()
	w := newNotes(t, 1)
	cfg := w.cfg
	cfg.Group = w.group()
	fill := func() {
		t.Helper()
		for _, id := range []string{"a", "b"} {
			w.send(0, "1", "opened", id)
		}
		var offsets kadm.Offsets
		offsets.Add(kadm.Offset{Topic: w.topic, At: 2, LeaderEpoch: -1})
		if err := w.admin().CommitAllOffsets(t.Context(), cfg.Group, offsets); err != nil {
			t.Fatal(err)
		}
	}
	fill()
	plan, err := replay.PlanOffsets(t.Context(), cfg)
	if err != nil || len(plan) != 1 {
		t.Fatal(plan, err)
	}
	if _, err := w.admin().DeleteTopic(t.Context(), w.topic); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 30*time.Second, func() error { // a broker deletes in the background
		_, err := w.admin().CreateTopic(t.Context(), 1, 1, nil, w.topic)
		return err
	})
	fill()
	if err := replay.MoveOffsets(t.Context(), cfg, plan); !errors.Is(err, replay.ErrPlanChanged) {
		t.Errorf("the topic is another one: %v", err)
	}
	plan[0].TopicID = "" // any topic of that name
	if err := replay.MoveOffsets(t.Context(), cfg, plan); err != nil {
		t.Error(err)
	}
}
