package replay_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pawl-go/pawl/replay"
	"github.com/pawl-go/pawl/versioning"
)

// TestRedecoded changes the decoder after the records were applied, in each way, and wants the
// report of a dry run to say what differs.
func TestRedecoded(t *testing.T) {
	t.Parallel()
	w := newNotes(t, 1)
	w.send(0, "1", "opened", "a")
	w.send(0, "1", "noted", "b")
	w.send(0, "2", "opened", "c") // stays as it is
	w.must(replay.Apply(t.Context(), w.cfg))
	if report := w.must(replay.DryRun(t.Context(), w.cfg)); !report.Clean() || report.Redecoded != 0 {
		t.Fatalf("%v", report)
	}
	before := w.digest()
	for _, c := range []struct {
		name  string
		other func(c *versioning.Change) ([]versioning.Change, error)
		kinds []replay.RedecodedKind
		says  string
	}{
		{"event", func(c *versioning.Change) ([]versioning.Change, error) {
			c.Event = "checked"
			return []versioning.Change{*c}, nil
		}, []replay.RedecodedKind{replay.OtherEvent}, `the event was "noted" and is "checked"`},
		{"columns", func(c *versioning.Change) ([]versioning.Change, error) {
			c.Set = versioning.Columns{"note": "other"}
			return []versioning.Change{*c}, nil
		}, []replay.RedecodedKind{replay.OtherColumns}, `the columns that it sets or its data differ`},
		{"entity", func(c *versioning.Change) ([]versioning.Change, error) {
			c.Key = "2"
			return []versioning.Change{*c}, nil
		}, []replay.RedecodedKind{replay.OtherEntity}, `the entity was notes 1 and is notes 2`},
		{"message ID", func(c *versioning.Change) ([]versioning.Change, error) {
			c.MessageID = "new"
			return []versioning.Change{*c}, nil
		}, []replay.RedecodedKind{replay.OtherMessageID}, `the message ID was "b" and is "new"`},
		{"entity, event and columns", func(c *versioning.Change) ([]versioning.Change, error) {
			return []versioning.Change{{Key: "3", Event: "opened"}}, nil
		}, []replay.RedecodedKind{replay.OtherEntity, replay.OtherEvent}, `the entity was notes 1 and is notes 3; the event was "noted" and is "opened"`},
		{
			"ignored", func(*versioning.Change) ([]versioning.Change, error) { return nil, nil },
			[]replay.RedecodedKind{replay.Nothing},
			`it asked for "noted" of notes 1, and asks for nothing instead`,
		},
		{
			"undecodable", func(*versioning.Change) ([]versioning.Change, error) { return nil, errors.New("too old") },
			[]replay.RedecodedKind{replay.Nothing},
			`too old`,
		},
	} {
		cfg := w.cfg
		cfg.Decode = func(r *versioning.Record) ([]versioning.Change, error) {
			changes, err := decode(r)
			if err != nil || r.Origin.Offset != 1 {
				return changes, err
			}
			return c.other(&changes[0])
		}
		report := w.must(replay.DryRun(t.Context(), cfg))
		if report.Redecoded != 1 || len(report.RedecodedSamples) != 1 || report.Clean() {
			t.Errorf("%s: %v", c.name, report)
			continue
		}
		s := report.RedecodedSamples[0]
		if diff := cmp.Diff(c.kinds, s.Differs); diff != "" {
			t.Errorf("%s (-want, +got):\n%s", c.name, diff)
		}
		if s.Topic != w.topic || s.Offset != 1 || s.Then.Machine != "notes" || s.Then.Entity != "1" || s.Then.Event != "noted" || s.Then.MessageID != "b" || len(s.Then.Digest) != 16 {
			t.Errorf("%s: %+v", c.name, s)
		}
		if !strings.Contains(report.String(), c.says) {
			t.Errorf("%s: the report does not say %q:\n%v", c.name, c.says, report)
		}
		text, err := json.Marshal(report)
		if want := fmt.Sprintf(`"then":{"machine":"notes","entity":"1","event":"noted","message_id":"b","digest":%q}`, s.Then.Digest); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %v, no %s in %s", c.name, err, want, text)
		}
	}
	if w.digest() != before {
		t.Error("a dry run has changed the database")
	}
}

// TestRedecodedSamples wants all records to be counted, and few to be named.
func TestRedecodedSamples(t *testing.T) {
	t.Parallel()
	w := newNotes(t, 1)
	for i := range 7 {
		w.send(0, fmt.Sprint(i), "opened", fmt.Sprint("m", i))
	}
	w.must(replay.Apply(t.Context(), w.cfg))
	w.cfg.Decode = func(r *versioning.Record) ([]versioning.Change, error) {
		changes, err := decode(r)
		changes[0].Key += "0" // "10" and so on; "00" is 0
		return changes, err
	}
	w.cfg.Samples = 2
	report := w.must(replay.DryRun(t.Context(), w.cfg))
	if report.Redecoded != 6 || len(report.RedecodedSamples) != 2 {
		t.Errorf("%v", report)
	}
}
