package replay_test

import (
	"fmt"
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
	report := w.must(replay.Verify(t.Context(), w.cfg))
	t.Log(report)
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
