package versioning_test

import (
	"fmt"
	"time"

	"github.com/pawl-go/pawl/versioning"
)

// A message of an outbox has an ID of its own, whatever relay publishes it.
func ExampleEmitted() {
	m := versioning.Emitted{
		OutMessage: versioning.OutMessage{Topic: "ledger", ContentType: "application/json"},
		Source:     "/shop", Entity: versioning.Entity{Machine: "order", Key: "o1"}, Event: "placed",
		Version: 3, Time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
	}
	fmt.Println(m.ID())
	for _, h := range m.CloudEvent() {
		fmt.Printf("%s: %s\n", h.Key, h.Value)
	}
	// Output:
	// order/o1/3/0
	// ce_specversion: 1.0
	// ce_id: order/o1/3/0
	// ce_source: /shop
	// ce_type: placed
	// ce_time: 2026-03-01T12:00:00Z
	// content-type: application/json
}

// The lane of an entity is the same in every process and version.
func ExampleLaneOf() {
	for _, key := range []string{"o1", "o2", "o3"} {
		fmt.Println(versioning.LaneOf(versioning.Entity{Machine: "order", Key: key}))
	}
	// Output:
	// 10
	// 3
	// 0
}
