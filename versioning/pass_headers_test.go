package versioning_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// Messages get the listed headers of their record, after their own. A header that the action
// sets wins, and so does the first of several.
func TestPassHeaders(t *testing.T) {
	t.Parallel()
	m := causing(func(f *statemachine.Firing) {
		f.Emit("a", 1)
		f.EmitMessage(statemachine.Message{Topic: "b", Headers: []statemachine.Header{{Key: "tracestate", Value: []byte("mine")}, {Key: "h", Value: []byte("v")}}})
	})
	headers := []versioning.Header{
		{Key: "other", Value: []byte("o")},
		{Key: "tracestate", Value: []byte("s")},
		{Key: "traceparent", Value: []byte("p")},
		{Key: "traceparent", Value: []byte("second")},
	}
	for name, c := range map[string]struct {
		pass []string
		of   []versioning.Header
		want []string
	}{
		"none":         {nil, headers, []string{"", "tracestate=mine h=v"}},
		"trace":        {versioning.TraceHeaders(), headers, []string{"traceparent=p tracestate=s", "tracestate=mine h=v traceparent=p"}},
		"record of no": {versioning.TraceHeaders(), nil, []string{"", "tracestate=mine h=v"}},
	} {
		var l log
		r := l.say("1", "placed")
		r.Headers = c.of
		plan := foldOne(m, func(r *versioning.Rules) { r.PassHeaders = c.pass }, r)
		var got []string
		for _, m := range plan.Moves[0].Steps[0].Outputs.Messages {
			text := ""
			for i, h := range m.Headers {
				if i > 0 {
					text += " "
				}
				text += fmt.Sprintf("%s=%s", h.Key, h.Value)
			}
			got = append(got, text)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: headers (-want, +got):\n%s", name, diff)
		}
		if len(r.Headers) != len(c.of) {
			t.Errorf("%s: the record has %d headers now", name, len(r.Headers))
		}
	}
}

// A store passes the headers that carry a trace from a record on to the messages that it causes,
// if its table says so: postgres.Table{PassHeaders: versioning.TraceHeaders()}.
func ExampleTraceHeaders() {
	fmt.Println(versioning.TraceHeaders())
	// Output: [traceparent tracestate]
}
