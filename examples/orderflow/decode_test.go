package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/shopspring/decimal"

	"github.com/pawl-go/pawl/examples/orderflow/internal/traffic"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

var noon = time.Date(2026, time.May, 4, 12, 0, 0, 0, time.UTC)

func TestDecode(t *testing.T) {
	order := func(event statemachine.Event, data any, set versioning.Columns) versioning.Change {
		return versioning.Change{Machine: "order", Key: "o", Event: event, Data: data, Set: set}
	}
	payment := func(event statemachine.Event, data any) versioning.Change {
		return versioning.Change{Machine: "payment", Key: "o", Event: event, Data: data}
	}
	total := decimal.RequireFromString("12.50")
	for _, c := range []struct {
		name, value string
		want        []versioning.Change
	}{
		{
			"placed", `{"order":"o","event":"order.placed","at":"2026-05-04T12:00:00Z","customer":"Ada","total":12.50,"card":"42"}`,
			[]versioning.Change{
				order(OrderPlaced, Placed{"Ada", total}, versioning.Columns{"placed_at": noon}),
				payment(PaymentRequested, Request{total, "42"}),
			},
		},
		{
			"tried another card", `{"order":"o","event":"payment.retried","at":"2026-05-04T12:00:00Z","card":"43"}`,
			[]versioning.Change{order(PaymentRetried, nil, nil), payment(PaymentRetried, Retry{"43"})},
		},
		{
			"shipped", `{"order":"o","event":"order.shipped","at":"2026-05-04T12:00:00Z","tracking":"PW1"}`,
			[]versioning.Change{order(OrderShipped, Dispatched{"PW1"}, versioning.Columns{"shipped_at": noon, "tracking": "PW1"})},
		},
		{
			"delivered", `{"order":"o","event":"order.delivered","at":"2026-05-04T12:00:00Z"}`,
			[]versioning.Change{order(OrderDelivered, nil, versioning.Columns{"delivered_at": noon})},
		},
		{
			"cancelled", `{"order":"o","event":"order.cancelled","at":"2026-05-04T12:00:00Z","reason":"too slow"}`,
			[]versioning.Change{order(OrderCancelled, nil, versioning.Columns{"cancelled_at": noon, "cancel_reason": "too slow"})},
		},
		{
			"an unknown event, which the machine rejects later", `{"order":"o","event":"order.teleported","at":"2026-05-04T12:00:00Z"}`,
			[]versioning.Change{order("order.teleported", nil, nil)},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := decode(&versioning.Record{Value: []byte(c.value)})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmp.Comparer(sameExpected)); diff != "" {
				t.Errorf("changes differ (-want +got):\n%s", diff)
			}
		})
	}
}

func sameExpected(a, b versioning.Expected) bool { return a == b }

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"a tombstone", "", "tombstone"},
		{"truncated JSON", `{"order":"o","ev`, "decode JSON"},
		{"no order", `{"event":"order.placed","at":"2026-05-04T12:00:00Z"}`, `no "order"`},
		{"no time", `{"order":"o","event":"order.placed"}`, `no "at"`},
		{"a total that is not a number", `{"order":"o","event":"order.placed","at":"2026-05-04T12:00:00Z","total":"much"}`, "decode JSON"},
		{"a payment that is only claimed", `{"order":"o","event":"payment.captured","at":"2026-05-04T12:00:00Z"}`, "not for messages"},
		{"a refund that is only claimed", `{"order":"o","event":"payment.refunded","at":"2026-05-04T12:00:00Z"}`, "not for messages"},
		{"a timer that is only claimed", `{"order":"o","event":"order.expired","at":"2026-05-04T12:00:00Z"}`, "not for messages"},
	} {
		t.Run(c.name, func(t *testing.T) {
			record := &versioning.Record{}
			if c.value != "" {
				record.Value = []byte(c.value)
			}
			changes, err := decode(record)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("decode = %v, %v; want an error with %q", changes, err, c.want)
			}
		})
	}
}

// FuzzDecode checks that decoding any value returns either one or two changes with one
// key, or an error.
func FuzzDecode(f *testing.F) {
	for _, r := range traffic.Generate(traffic.Plan{Orders: 20, Seed: 1, Prefix: "order"}).Records {
		f.Add(r.Value())
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		got, err := decode(&versioning.Record{Value: value})
		if err == nil && (len(got) < 1 || len(got) > 2 || got[0].Key == "" || got[len(got)-1].Key != got[0].Key) {
			t.Errorf("decode(%q) = %+v without an error", value, got)
		}
	})
}
