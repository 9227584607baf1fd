package versioning_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

// causing returns a machine whose first event calls an action.
func causing(action func(f *statemachine.Firing)) *statemachine.Machine {
	do := statemachine.Do(func(f *statemachine.Firing, _ *struct{}, _ struct{}) error {
		action(f)
		return nil
	})
	return statemachine.MustCompile(statemachine.Definition{
		Name: "order", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "placed", To: "pending", Do: do},
			{Event: "counted", From: statemachine.In("pending"), To: "pending", Do: statemachine.Do(func(_ *statemachine.Firing, _ *struct{}, _ int) error { return nil })},
			{Event: "expired", From: statemachine.In("pending"), To: "cancelled"},
		},
		Terminal: statemachine.In("cancelled"),
	})
}

// foldOne folds records of a machine over an empty view. The rules' codec may be changed.
func foldOne(m *statemachine.Machine, change func(*versioning.Rules), records ...*versioning.Record) *versioning.Plan {
	rules := versioningtest.NewMemory(versioning.Rules{Machine: m}).Rules()
	if change != nil {
		r := rules["order"]
		change(&r)
		rules["order"] = r
	}
	view := versioning.NewView(len(records))
	for _, r := range records {
		versioning.Prepare(rules, r)
		for i := range r.Changes {
			view.Add(r.Entity(i))
		}
	}
	return versioning.Fold(rules, view, records)
}

// TestOutputs checks what a step causes, or why its record is rejected.
func TestOutputs(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	message := func(topic, key, value, contentType string) versioning.OutMessage {
		return versioning.OutMessage{Topic: topic, Key: []byte(key), Value: []byte(value), ContentType: contentType}
	}
	const js = "application/json"
	for name, c := range map[string]struct {
		action func(f *statemachine.Firing)
		rules  func(r *versioning.Rules)
		want   *versioning.Outputs
		detail string // of the rejection
	}{
		"nothing": {action: func(*statemachine.Firing) {}},
		"messages in their order": {
			action: func(f *statemachine.Firing) {
				f.Emit("a", map[string]int{"n": 1})
				f.Emit("b", []byte("raw"))
				f.EmitMessage(statemachine.Message{Topic: "c", Key: []byte("k"), Headers: []statemachine.Header{{Key: "h", Value: []byte("v")}}})
			},
			want: &versioning.Outputs{Messages: []versioning.OutMessage{
				message("a", "42", `{"n":1}`, js), message("b", "42", "raw", ""),
				{Topic: "c", Key: []byte("k"), Headers: []versioning.Header{{Key: "h", Value: []byte("v")}}},
			}},
		},
		"an empty key": {
			action: func(f *statemachine.Firing) { f.EmitMessage(statemachine.Message{Topic: "a", Key: []byte{}, Value: 1}) },
			want:   &versioning.Outputs{Messages: []versioning.OutMessage{message("a", "", "1", js)}},
		},
		"a codec": {
			action: func(f *statemachine.Firing) { f.Emit("a", 7) },
			rules: func(r *versioning.Rules) {
				r.Encode = func(topic string, value any) ([]byte, error) { return fmt.Append(nil, topic, value), nil }
			},
			want: &versioning.Outputs{Messages: []versioning.OutMessage{message("a", "42", "a7", "")}},
		},
		"a codec that fails": {
			action: func(f *statemachine.Firing) { f.Emit("a", 7) },
			rules: func(r *versioning.Rules) {
				r.Encode = func(string, any) ([]byte, error) { return nil, errors.New("no schema") }
			},
			detail: "no schema",
		},
		"a codec that panics": {
			action: func(f *statemachine.Firing) { f.Emit("a", 7) },
			rules:  func(r *versioning.Rules) { r.Encode = func(string, any) ([]byte, error) { panic("no schema") } },
			detail: "no schema",
		},
		"a value that is not JSON": {action: func(f *statemachine.Firing) { f.Emit("a", func() {}) }, detail: "unsupported type"},
		"no topic":                 {action: func(f *statemachine.Firing) { f.Emit("", 1) }, detail: "no name"},
		"a topic like ..":          {action: func(f *statemachine.Firing) { f.Emit("..", 1) }, detail: "no name"},
		"a topic with a space":     {action: func(f *statemachine.Firing) { f.Emit("a b", 1) }, detail: "only letters"},
		"a topic with a long name": {action: func(f *statemachine.Firing) { f.Emit(strings.Repeat("a", 250), 1) }, detail: "the limit is 249"},
		"a reserved header": {
			action: func(f *statemachine.Firing) {
				f.EmitMessage(statemachine.Message{Topic: "a", Headers: []statemachine.Header{{Key: "ce_id"}}})
			},
			detail: "reserved",
		},
		"too many": {
			action: func(f *statemachine.Firing) {
				for range 1001 {
					f.Emit("a", 1)
				}
			},
			detail: "the limit is 1000",
		},
		"too much": {
			action: func(f *statemachine.Firing) {
				f.Emit("a", make([]byte, 9<<20))
				f.Emit("a", make([]byte, 9<<20))
			},
			detail: "more than 16777216 bytes",
		},
		"a job": {
			action: func(f *statemachine.Firing) { f.Enqueue("charge") },
			rules:  func(r *versioning.Rules) { r.CheckJob = anyJob },
			want:   &versioning.Outputs{Jobs: []any{"charge"}},
		},
		"a job without a queue": {action: func(f *statemachine.Firing) { f.Enqueue("charge") }, detail: "no queue"},
		"a timer": {
			action: func(f *statemachine.Firing) { f.At("expired", at) },
			want:   &versioning.Outputs{Timers: []statemachine.Timer{{Event: "expired", At: at}}},
		},
		"a timer for an unknown event":   {action: func(f *statemachine.Firing) { f.At("expird", at) }, detail: "does not have"},
		"a timer for an event with data": {action: func(f *statemachine.Firing) { f.At("counted", at) }, detail: "take data"},
		"a timer in no year":             {action: func(f *statemachine.Firing) { f.At("expired", at.AddDate(9000, 0, 0)) }, detail: "year 11026"},
	} {
		var l log
		plan := foldOne(causing(c.action), c.rules, l.say("42", "placed"))
		o := plan.Outcomes[0]
		if c.detail != "" {
			if o.Verdict != versioning.Rejected || o.Reason != versioning.ReasonInvalidOutput || !strings.Contains(o.Detail, c.detail) || len(plan.Moves) > 0 {
				t.Errorf("%s: %v %s %q, want a rejection about %q", name, o.Verdict, o.Reason, o.Detail, c.detail)
			}
			continue
		}
		if o.Verdict != versioning.Applied {
			t.Errorf("%s: %v %q", name, o.Verdict, o.Detail)
			continue
		}
		if diff := cmp.Diff(c.want, plan.Moves[0].Steps[0].Outputs, equalIfEmpty); diff != "" {
			t.Errorf("%s: outputs (-want, +got):\n%s", name, diff)
		}
	}
}

// equalIfEmpty treats nil and empty lists of messages as equal, but not nil and empty keys.
var equalIfEmpty = cmp.Transformer("length", func(m []versioning.OutMessage) []versioning.OutMessage {
	if len(m) == 0 {
		return nil
	}
	return m
})

// TestUndoneStepsCauseNothing checks that a record that can't make all of its changes causes
// nothing, and that a record that is delivered twice causes what it does once.
func TestUndoneStepsCauseNothing(t *testing.T) {
	t.Parallel()
	m := causing(func(f *statemachine.Firing) { f.Emit("a", json.RawMessage(`1`)) })
	var l log
	placed := l.say("1", "placed")
	again := *placed
	both := l.record(
		versioning.Change{Machine: "order", Key: "2", Event: "placed"},
		versioning.Change{Machine: "order", Key: "3", Event: "misspelt"},
	)
	plan := foldOne(m, nil, placed, both, &again)
	if diff := cmp.Diff([]string{"applied", "rejected unknown_event", "duplicate"}, verdicts(plan.Outcomes)); diff != "" {
		t.Fatalf("verdicts (-want, +got):\n%s", diff)
	}
	caused := 0
	for _, move := range plan.Moves {
		for _, step := range move.Steps {
			caused += len(step.Outputs.Messages)
		}
	}
	if caused != 1 {
		t.Errorf("%d messages, want that of the record that was applied", caused)
	}
}

func anyJob(any) error { return nil }
