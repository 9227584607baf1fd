package versioning_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/pawl-go/pawl/versioning"
)

// TestPrepareLimits checks each limit of a record at its border.
func TestPrepareLimits(t *testing.T) {
	t.Parallel()
	const machine = "order"
	rules := map[string]versioning.Rules{machine: {}}
	change := versioning.Change{Key: "a", Event: "placed"}
	changes := func(n int) *versioning.Record {
		return &versioning.Record{Changes: slices.Repeat([]versioning.Change{change}, n)}
	}
	with := func(set func(*versioning.Record)) *versioning.Record {
		r := changes(1)
		set(r)
		return r
	}
	tests := map[string]struct {
		record *versioning.Record
		want   versioning.Reason
	}{
		"as many changes as fit": {changes(1000), versioning.ReasonNone},
		"too many changes":       {changes(1001), versioning.ReasonTooLarge},
		"as many bytes as fit": {with(func(r *versioning.Record) {
			r.Key, r.Value = make([]byte, 1), make([]byte, versioning.MaxRecordBytes-1)
		}), versioning.ReasonNone},
		"too many bytes": {with(func(r *versioning.Record) {
			r.Key, r.Value = make([]byte, 1), make([]byte, versioning.MaxRecordBytes)
		}), versioning.ReasonTooLarge},
		"the longest key":        {with(func(r *versioning.Record) { r.Changes[0].Key = strings.Repeat("k", 1024) }), versioning.ReasonNone},
		"too long a key":         {with(func(r *versioning.Record) { r.Changes[0].Key = strings.Repeat("k", 1025) }), versioning.ReasonInvalidKey},
		"no key":                 {with(func(r *versioning.Record) { r.Changes[0].Key = "" }), versioning.ReasonInvalidKey},
		"the longest message ID": {with(func(r *versioning.Record) { r.Changes[0].MessageID = strings.Repeat("m", 1024) }), versioning.ReasonNone},
		"too long a message ID":  {with(func(r *versioning.Record) { r.Changes[0].MessageID = strings.Repeat("m", 1025) }), versioning.ReasonInvalidMessage},
		"too long a former ID":   {with(func(r *versioning.Record) { r.Changes[0].FormerID = strings.Repeat("m", 1025) }), versioning.ReasonInvalidMessage},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			versioning.Prepare(rules, tt.record)
			var got versioning.Reason
			if refusal, ok := errors.AsType[*versioning.Refusal](tt.record.Err); ok {
				got = refusal.Reason
			} else if tt.record.Err != nil {
				t.Fatalf("Err = %v, want a Refusal", tt.record.Err)
			}
			if got != tt.want {
				t.Errorf("reason %q, want %q", got, tt.want)
			}
		})
	}
}
