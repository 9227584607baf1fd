package replay_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/replay"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// TestStepsThatNoRecordMakes has entities with steps of timers and of callers of Store.Do, before, between and
// after those of records, some of which are parked until such a step comes.
func TestStepsThatNoRecordMakes(t *testing.T) {
	t.Parallel()
	machine := statemachine.MustCompile(statemachine.Definition{
		Name: "cases", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "opened", To: "open"},
			{Event: "forgotten", From: statemachine.In("open"), To: "late", After: time.Millisecond},
			{Event: "called", From: statemachine.In("late"), To: "called"},
			{Event: "paid", From: statemachine.In("called"), To: "paid"},
			{Event: "closed", From: statemachine.In("paid"), To: "closed"},
		},
		Terminal: statemachine.In("closed"),
	})
	w := &world{TB: t, pool: testenv.Pool(t, withCases), topic: testenv.Topic(t, partitions)}
	w.cfg = replay.Config{
		Client: testenv.KafkaOpts(t), Topics: []string{w.topic}, Pool: w.pool, Tables: []postgres.Table{{Machine: machine, Name: "cases"}}, Decode: decode,
	}
	store, err := postgres.Open(t.Context(), w.pool, w.cfg.Tables...)
	if err != nil {
		t.Fatal(err)
	}
	const cases = 40
	do := func(key int, event statemachine.Event) {
		t.Helper()
		o, err := store.Do(t.Context(), versioning.Change{Key: strconv.Itoa(key), Event: event, MessageID: fmt.Sprint(event, key)})
		if err != nil || o.Verdict != versioning.Applied {
			t.Fatalf("%s of %d: %v, %v", event, key, o, err)
		}
	}
	for key := range cases {
		if key%4 == 0 {
			do(key, "opened") // by a caller, not by a record
		} else {
			w.send(int32(key%partitions), strconv.Itoa(key), "opened", fmt.Sprint("opened of ", key))
		}
		w.send(int32(key%partitions), strconv.Itoa(key), "called", fmt.Sprint("called of ", key)) // too early: the timer comes first
		w.send(int32(key%partitions), strconv.Itoa(key), "closed", fmt.Sprint("closed of ", key)) // too early as well
	}
	w.must(replay.Apply(t.Context(), w.cfg))
	testenv.Eventually(t, time.Minute, func() error {
		if _, err := store.FireTimers(t.Context(), 1000); err != nil {
			return err
		}
		if n := w.text(`SELECT count(*)::text FROM cases WHERE state = 'called'`); n != strconv.Itoa(cases) {
			return fmt.Errorf("%s are called", n)
		}
		return nil
	})
	for key := range cases {
		if key%3 == 0 {
			do(key, "paid")
		}
	}
	var last []replay.Progress // of each step
	watched := w.cfg
	watched.Progress = func(p replay.Progress) {
		if n := len(last); n == 0 || last[n-1].Step != p.Step {
			last = append(last, p)
		} else {
			last[n-1] = p
		}
	}
	report := w.must(replay.Verify(t.Context(), watched))
	t.Log(report)
	var named []string
	for _, p := range last {
		named = append(named, fmt.Sprintf("%s %d of %d", p.Step, p.Done, p.Total))
	}
	if want := []string{"take over 64 of 64", fmt.Sprintf("read %d of %[1]d", 3*cases-10), "compare 6 of 6"}; !slices.Equal(named, want) {
		t.Errorf("progress: %q, want %q", named, want)
	}
	if v := report.Verified; !report.Clean() || v.Cut > 0 || v.Entities != cases || v.Given != 40+10+14 {
		t.Errorf("%v", report)
	}
	w.exec(`UPDATE cases SET state = 'paid' WHERE id = 7`)
	w.exec(`UPDATE cases SET note = 'wrong' WHERE id = 8`)  // a caller may have written that
	w.exec(`UPDATE cases SET note = 'wrong' WHERE id = 10`) // but not that
	cfg := w.cfg
	cfg.Keep = true
	report = w.must(replay.Verify(t.Context(), cfg))
	if v := report.Verified; v.Different != 2 || v.Kinds[replay.State] != 1 || v.Kinds[replay.Data] != 1 {
		t.Errorf("%v", report)
	}
	report = w.must(replay.Rebuild(t.Context(), w.cfg, versioning.Entity{Machine: "cases", Key: "7"}, versioning.Entity{Machine: "cases", Key: "9"}, versioning.Entity{Machine: "cases", Key: "10"}))
	if b := report.Rebuilt; b.Entities != 2 || b.Refused != 1 || b.Refusals[0].Entity != "9" {
		t.Errorf("%v", report)
	}
	if report := w.must(replay.Verify(t.Context(), w.cfg)); !report.Clean() {
		t.Errorf("%v", report)
	}
}

// TestOtherVersions verifies entities that an earlier version of the machine has moved, before one
// of its states got another name and the target of an event changed.
func TestOtherVersions(t *testing.T) {
	t.Parallel()
	first := statemachine.Definition{
		Name: "cases", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "opened", To: "open"},
			{Event: "called", From: statemachine.In("open"), To: "called"},
			{Event: "noted", From: statemachine.In("called"), To: "called"},
			{Event: "closed", From: statemachine.In("open", "called"), To: "closed"},
			{Event: "filed", From: statemachine.In("closed"), To: "gone"},
		},
		Terminal: statemachine.In("gone"),
	}
	second := statemachine.Definition{
		Name: "cases", Version: 2,
		Transitions: []statemachine.Transition{
			{Event: "opened", To: "open"},
			{Event: "called", From: statemachine.In("open"), To: "reached"},
			{Event: "noted", From: statemachine.In("reached"), To: "reached"},
			{Event: "closed", From: statemachine.In("open"), To: "lost"},
			{Event: "closed", From: statemachine.In("reached"), To: "closed"},
			{Event: "filed", From: statemachine.In("closed", "lost"), To: "gone"},
		},
		Terminal:   statemachine.In("gone"),
		Migrations: []statemachine.Migration{{From: statemachine.In("called"), To: "reached"}},
	}
	w := &world{TB: t, pool: testenv.Pool(t, withCases), topic: testenv.Topic(t, partitions)}
	w.cfg = replay.Config{
		Client: testenv.KafkaOpts(t), Topics: []string{w.topic}, Pool: w.pool, Decode: decode,
		Tables: []postgres.Table{{Machine: statemachine.MustCompile(first), Name: "cases"}},
	}
	send := func(key int, events ...string) {
		for _, e := range events {
			w.send(int32(key%partitions), strconv.Itoa(key), e, fmt.Sprint(e, key))
		}
	}
	send(1, "opened", "called", "closed", "filed") // passed the state that is renamed
	send(2, "opened", "called")                    // is in it
	send(3, "opened", "closed")                    // would end elsewhere now
	w.must(replay.Apply(t.Context(), w.cfg))
	w.cfg.Tables = []postgres.Table{{Machine: statemachine.MustCompile(second), Name: "cases"}}
	store, err := postgres.Open(t.Context(), w.pool, w.cfg.Tables...)
	if err != nil {
		t.Fatal(err)
	}
	if report := w.must(replay.Verify(t.Context(), w.cfg)); !report.Clean() || report.Verified.Cut != 1 || report.Verified.Whole != 2 {
		t.Errorf("before the migration: %v", report)
	}
	if done, err := store.Migrate(t.Context(), postgres.Migration{}); err != nil || done.Moved != 1 {
		t.Fatalf("%v, %v", done, err)
	}
	send(2, "noted")
	w.must(replay.Apply(t.Context(), w.cfg))
	report := w.must(replay.Verify(t.Context(), w.cfg))
	if !report.Clean() || report.Verified.Cut != 2 || report.Verified.Whole != 1 {
		t.Errorf("after it: %v", report)
	}
	wantCaveat(t, report, replay.Elsewhere, replay.Definitions)
	w.exec(`UPDATE cases SET state = 'open' WHERE id = 1`)
	report = w.must(replay.Rebuild(t.Context(), w.cfg, versioning.Entity{Machine: "cases", Key: "1"},
		versioning.Entity{Machine: "cases", Key: "2"}, versioning.Entity{Machine: "cases", Key: "3"}))
	if b := report.Rebuilt; b.Entities != 1 || b.Refused != 2 {
		t.Errorf("%v", report)
	}
	if got := w.text(`SELECT string_agg(id || state || version, ' ' ORDER BY id) FROM cases`); got != "1gone4 2reached4 3closed2" {
		t.Error(got)
	}
}
