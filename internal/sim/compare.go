package sim

import (
	"fmt"
	"maps"

	"github.com/pawl-go/pawl/internal/model"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

// compare compares the store with the model, which gets the messages once, one
// by one and in order. Each entity belongs to one partition, so the order of
// the partitions does not matter.
func (w *world) compare(l *ledger) {
	m := model.New(w.script.definition, w.script.identity)
	m.MaxParked = w.script.maxParked
	for p, messages := range w.script.messages {
		for i, msg := range messages {
			if msg.isMoney || msg.isAlarm {
				continue
			}
			msg.Origin = versioning.Origin{Partition: int32(p), Offset: int64(i)}
			if msg.garbage != readable {
				m.Dead[msg.Origin] = model.Fate{Verdict: versioning.Rejected, Reason: versioning.ReasonUndecodable}
				continue
			}
			m.Deliver(msg.Message)
		}
	}
	other := func(at place) bool {
		m := &w.script.messages[at.partition][at.offset]
		return m.isMoney || m.isAlarm
	}
	maps.DeleteFunc(l.history, func(_ string, steps []versioningtest.Transition) bool { return other(placeOf(steps[0].Origin)) })
	for key := range both(m.History, l.history) {
		var got []model.Step
		for _, s := range l.history[key] {
			at := versioning.Origin{Partition: s.Origin.Partition, Offset: s.Origin.Offset} // the model's origins have no topic ID
			got = append(got, model.Step{Event: s.Event, To: s.To, ID: s.MessageID, Origin: at})
		}
		w.expect(fmt.Sprintf("history of %q", key), got, m.History[key])
	}
	got, want := make(map[place]string), make(map[place]string)
	for _, p := range w.store.Parked() {
		if isTimer(p.Origin) {
			continue
		}
		got[placeOf(p.Origin)] = "waits for " + p.Entity.Key
	}
	for _, d := range w.store.DeadLetters() {
		if isTimer(d.Origin) {
			continue
		}
		got[placeOf(d.Origin)] = fmt.Sprint(d.Outcome.Verdict, d.Outcome.Reason, d.Outcome.Entity.Key)
	}
	for _, p := range m.Parked {
		want[placeOf(p.Origin)] = "waits for " + p.For
	}
	for origin, f := range m.Dead {
		want[placeOf(origin)] = fmt.Sprint(f.Verdict, f.Reason, f.Key)
	}
	maps.DeleteFunc(got, func(at place, _ string) bool { return other(at) })
	w.expect("kept records", got, want)
}

// expect compares the formatted values.
func (w *world) expect(what string, got, want any) {
	if g, m := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != m {
		w.fail("%s: %s, but the model has %s", what, g, m)
	}
}

func both[A, B any](a map[string]A, b map[string]B) map[string]bool {
	keys := make(map[string]bool)
	for key := range a {
		keys[key] = true
	}
	for key := range b {
		keys[key] = true
	}
	return keys
}
