package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawl-go/pawl/examples/orderflow/internal/traffic"
	"github.com/pawl-go/pawl/versioning"
)

var noon = time.Date(2026, time.May, 4, 12, 0, 0, 0, time.UTC)

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        versioning.Change
	}{
		{
			"placed", `{"order":"o","event":"order.placed","at":"2026-05-04T12:00:00Z","customer":"Ada","total":12.50}`,
			versioning.Change{Key: "o", Event: OrderPlaced, Set: versioning.Columns{"customer": "Ada", "total": "12.50", "placed_at": noon}},
		},
		{
			"paid", `{"order":"o","event":"payment.captured","at":"2026-05-04T12:00:00Z"}`,
			versioning.Change{Key: "o", Event: PaymentCaptured, Set: versioning.Columns{"paid_at": noon}},
		},
		{
			"shipped", `{"order":"o","event":"order.shipped","at":"2026-05-04T12:00:00Z","tracking":"PW1"}`,
			versioning.Change{Key: "o", Event: OrderShipped, Set: versioning.Columns{"shipped_at": noon, "tracking": "PW1"}},
		},
		{
			"delivered", `{"order":"o","event":"order.delivered","at":"2026-05-04T12:00:00Z"}`,
			versioning.Change{Key: "o", Event: OrderDelivered, Set: versioning.Columns{"delivered_at": noon}},
		},
		{
			"cancelled", `{"order":"o","event":"order.cancelled","at":"2026-05-04T12:00:00Z","reason":"too slow"}`,
			versioning.Change{Key: "o", Event: OrderCancelled, Set: versioning.Columns{"cancelled_at": noon, "cancel_reason": "too slow"}},
		},
		{
			"an unknown event, which the machine rejects later", `{"order":"o","event":"order.teleported","at":"2026-05-04T12:00:00Z"}`,
			versioning.Change{Key: "o", Event: "order.teleported"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := decode(&versioning.Record{Value: []byte(c.value)})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]versioning.Change{c.want}, got, cmp.Comparer(sameExpected)); diff != "" {
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

// FuzzDecode checks that decoding any value returns either one change with a
// key, or an error.
func FuzzDecode(f *testing.F) {
	for _, r := range traffic.Generate(traffic.Plan{Orders: 20, Seed: 1, Prefix: "order"}).Records {
		f.Add(r.Value())
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		got, err := decode(&versioning.Record{Value: value})
		if err == nil && (len(got) != 1 || got[0].Key == "") {
			t.Errorf("decode(%q) = %+v without an error", value, got)
		}
	})
}
