package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pawl-go/pawl/examples/orderflow/internal/expect"
	"github.com/pawl-go/pawl/examples/orderflow/internal/traffic"
	"github.com/pawl-go/pawl/statemachine"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestGraph(t *testing.T) {
	for format, golden := range map[string]string{"mermaid": "order.mermaid", "graphviz": "order.dot"} {
		t.Run(format, func(t *testing.T) {
			got, _, err := execute(t, "graph", "--format", format)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", golden)
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("graph differs from %s (-want +got); run with -update to rewrite it:\n%s", path, diff)
			}
		})
	}
}

func TestReadmeShowsTheGraph(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "```mermaid\n"+Order.Mermaid()+"```") {
		t.Error("the graph in README.md differs from the output of `orderflow graph`")
	}
}

// TestModelAgrees compares the demo's model of an order with the machine, for
// every state and event. The model shares no code with the framework.
func TestModelAgrees(t *testing.T) {
	wants := map[statemachine.Class]expect.Kind{
		statemachine.Now:    expect.Applied,
		statemachine.Later:  expect.Parked,
		statemachine.Behind: expect.DeadLettered,
		statemachine.Never:  expect.DeadLettered,
	}
	paths := map[statemachine.State][]statemachine.Event{
		statemachine.None: nil,
		Pending:           {OrderPlaced},
		Paid:              {OrderPlaced, PaymentCaptured},
		Shipped:           {OrderPlaced, PaymentCaptured, OrderShipped},
		Delivered:         {OrderPlaced, PaymentCaptured, OrderShipped, OrderDelivered},
		Cancelled:         {OrderPlaced, OrderCancelled},
	}
	for _, state := range append(Order.States(), statemachine.None) {
		for _, event := range Order.Events() {
			records := sent(append(paths[state], event))
			got := expect.Of(records)
			last := got.Fates[records[len(records)-1].Place]
			if want := wants[Order.Classify(state, event)]; last.Kind != want {
				t.Errorf("%s in state %q: the model says %v, the machine %v", event, state, last, want)
			}
			if to, ok := Order.Fire(state, event); ok && got.Orders["o"].State != string(to) {
				t.Errorf("%s in state %q: the model goes to %q, the machine to %q", event, state, got.Orders["o"].State, to)
			}
		}
	}
}

// sent returns one record per event, all about one order.
func sent(events []statemachine.Event) (records []traffic.Sent) {
	for i, event := range events {
		records = append(records, traffic.Sent{
			Record: traffic.Record{ID: fmt.Sprint(i), Message: traffic.Message{Order: "o", Event: string(event)}},
			Place:  traffic.Place{Offset: int64(i)},
		})
	}
	return records
}
