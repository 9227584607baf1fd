package versioning

import (
	"errors"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/pawl-go/pawl/statemachine"
)

// FuzzMessageID checks that messages share an ID only if they have the same source and ID
// in their headers.
func FuzzMessageID(f *testing.F) {
	f.Add("/orders", "1", "/orders", "1")
	f.Add("/orders", "1 2", "/orders 1", "2")
	f.Add(`a\`, "b", "a", `\ b`)
	f.Add("", "a b", "a", "b") // no source
	f.Add("", " a", "", "a")
	f.Add("a\xff", "b\x00", "a\xfe", "b\x00")
	f.Fuzz(func(t *testing.T, source, id, otherSource, otherID string) {
		if id == "" || otherID == "" {
			t.Skip("a record without an ID has its origin for one")
		}
		first, other := identified(source, id), identified(otherSource, otherID)
		if same := source == otherSource && id == otherID; same != (first == other) {
			t.Errorf("source %q and ID %q have the message ID %q; %q and %q have %q", source, id, first, otherSource, otherID, other)
		}
	})
}

// identified returns the message ID of a record with the headers of CloudEvents.
func identified(source, id string) string {
	r := &Record{Headers: []Header{{Key: sourceHeader, Value: []byte(source)}, {Key: idHeader, Value: []byte(id)}}}
	r.Decode(func(*Record) ([]Change, error) { return []Change{{Key: "a", Event: "opened"}}, nil })
	return r.Changes[0].MessageID
}

// FuzzPrepare checks that a record that Prepare accepts can be stored, that one that it
// does not accept has a reason, and that preparing it again changes nothing.
func FuzzPrepare(f *testing.F) {
	f.Add("", "a", "m", "", 1, uint16(0))
	f.Add("account", "", "", "f", 1, uint16(0))
	f.Add("nosuch", "a\x00", "m\xff", "f\x00", 2, uint16(8))
	f.Add("account", "é", "", "", 1000, uint16(1023))
	f.Add("account", "é", "", "", 1001, uint16(0))
	f.Add("account", "é", "m", "f", 0, uint16(1024))
	rules := map[string]Rules{"account": {Machine: statemachine.MustCompile(statemachine.Definition{
		Name: "account", Version: 1, Transitions: []statemachine.Transition{{Event: "opened", To: "open"}},
		Terminal: statemachine.In("open"),
	})}}
	f.Fuzz(func(t *testing.T, machine, key, id, former string, changes int, padding uint16) {
		r := &Record{Origin: Origin{Topic: "accounts", Offset: 7}, Key: []byte(key)}
		pad := string(slices.Repeat([]byte("x"), int(padding)))
		for range min(max(changes, 0), 2*maxChanges) {
			r.Changes = append(r.Changes, Change{Machine: machine, Key: key + pad, Event: "opened", MessageID: id, FormerID: former})
		}
		Prepare(rules, r)
		wantPrepared(t, rules, r)
		before := slices.Clone(r.Changes)
		err := r.Err
		Prepare(rules, r)
		if diff := cmp.Diff(before, r.Changes, cmp.AllowUnexported(Expected{})); diff != "" || r.Err != err { //nolint:errorlint // the very same one
			t.Errorf("preparing again: %v, was %v (-once +twice):\n%s", r.Err, err, diff)
		}
	})
}

// wantPrepared checks what Prepare promises.
func wantPrepared(t *testing.T, rules map[string]Rules, r *Record) {
	t.Helper()
	if r.Err != nil {
		if refusal, ok := errors.AsType[*Refusal](r.Err); !ok || refusal.Reason == "" || !utf8.ValidString(r.Err.Error()) {
			t.Errorf("%v is not a Refusal with a reason and a text", r.Err)
		}
		return
	}
	if len(r.Changes) > maxChanges || r.Size() > MaxRecordBytes {
		t.Errorf("%d changes and %d bytes are accepted", len(r.Changes), r.Size())
	}
	for _, c := range r.Changes {
		if _, ok := rules[c.Machine]; !ok {
			t.Errorf("machine %q is accepted", c.Machine)
		}
		if c.Key == "" || len(c.Key) > maxKeyBytes || !StorableText(c.Key) {
			t.Errorf("key %.100q of %d bytes is accepted", c.Key, len(c.Key))
		}
		for _, id := range c.MessageIDs() {
			if id == "" || len(id) > maxMessageIDBytes || !StorableText(id) {
				t.Errorf("message ID %.100q of %d bytes is accepted", id, len(id))
			}
		}
	}
}
