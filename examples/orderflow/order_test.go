package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pawl-go/pawl/examples/orderflow/internal/expect"
	"github.com/pawl-go/pawl/examples/orderflow/internal/traffic"
	"github.com/pawl-go/pawl/statemachine"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestGraph(t *testing.T) {
	for golden, args := range map[string][]string{
		"order.mermaid":    {"graph"},
		"order.dot":        {"graph", "order", "--format=graphviz"},
		"payment.mermaid":  {"graph", "payment"},
		"shipment.mermaid": {"graph", "shipment"},
	} {
		t.Run(golden, func(t *testing.T) {
			got, _, err := execute(t, args...)
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

func TestReadmeShowsTheGraphs(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, machine := range machines() {
		if !strings.Contains(string(readme), "```mermaid\n"+machine.Mermaid()+"```") {
			t.Errorf("the graph in README.md differs from the output of `orderflow graph %s`", name)
		}
	}
}

// paths lead to each state of an order.
var paths = map[statemachine.State][]statemachine.Event{
	statemachine.None: nil,
	Pending:           {OrderPlaced},
	Unpaid:            {OrderPlaced, PaymentDeclined},
	Paid:              {OrderPlaced, PaymentCaptured},
	Shipped:           {OrderPlaced, PaymentCaptured, OrderShipped},
	Delivered:         {OrderPlaced, PaymentCaptured, OrderShipped, OrderDelivered},
	Cancelling:        {OrderPlaced, OrderCancelled},
	Refunding:         {OrderPlaced, OrderCancelled, PaymentCaptured},
	Cancelled:         {OrderPlaced, OrderCancelled, PaymentDeclined},
	Expired:           {OrderPlaced, PaymentDeclined, OrderExpired},
}

// fromTopic are the events that arrive as messages. The others are heard from the provider
// or from a timer.
var fromTopic = []statemachine.Event{OrderPlaced, PaymentRetried, OrderShipped, OrderDelivered, OrderCancelled}

// TestModelAgrees compares the demo's model of an order and its payment with the machines,
// for every state and event. The model shares no code with the framework.
func TestModelAgrees(t *testing.T) {
	wants := map[statemachine.Class]expect.Kind{
		statemachine.Now:    expect.Applied,
		statemachine.Later:  expect.Parked,
		statemachine.Behind: expect.DeadLettered,
		statemachine.Never:  expect.DeadLettered,
	}
	order := orderMachine(defaultTerms)
	for _, state := range append(order.States(), statemachine.None) {
		for _, event := range order.Events() {
			records, heard := life(append(slices.Clone(paths[state]), event))
			got := expect.Of(records, map[string][]expect.Heard{"o": heard})
			want, legal := order.Fire(state, event)
			if !legal {
				want = state
			}
			if slices.Contains(fromTopic, event) {
				last := got.Fates[records[len(records)-1].Place]
				if fate := wants[order.Classify(state, event)]; last.Kind != fate {
					t.Errorf("%s in state %q: the model says %v, the machine %v", event, state, last, fate)
				}
			}
			if o := got.Orders["o"]; o.State != string(want) {
				t.Errorf("%s in state %q: the model goes to %q, the machine to %q", event, state, o.State, want)
			}
			if p := got.Payments["o"]; legal && p.State != string(paymentAfter(t, append(slices.Clone(paths[state]), event))) {
				t.Errorf("%s in state %q: the model's payment is %q", event, state, p.State)
			}
		}
	}
}

// paymentAfter returns the state of an order's payment after the order's events.
func paymentAfter(t *testing.T, events []statemachine.Event) (state statemachine.State) {
	t.Helper()
	for _, event := range events {
		if event == OrderPlaced {
			event = PaymentRequested
		}
		if !slices.Contains(Payment.Events(), event) {
			continue
		}
		next, legal := Payment.Fire(state, event)
		if !legal {
			t.Fatalf("after %v, the payment is %q, where %s is not legal", events, state, event)
		}
		state = next
	}
	return state
}

// TestWaits checks that the states in which the model says that an order can't stay are
// those that the provider or a timer ends.
func TestWaits(t *testing.T) {
	order := orderMachine(defaultTerms)
	for _, state := range order.States() {
		want := slices.ContainsFunc(order.Events(), func(e statemachine.Event) bool {
			_, legal := order.Fire(state, e)
			return legal && !slices.Contains(fromTopic, e)
		})
		if got := expect.Waits(string(state)); got != want {
			t.Errorf("Waits(%q) = %t, want %t", state, got, want)
		}
	}
}

// life returns one record, or one thing heard, per event, all about one order.
func life(events []statemachine.Event) (records []traffic.Sent, heard []expect.Heard) {
	for i, event := range events {
		if !slices.Contains(fromTopic, event) {
			heard = append(heard, expect.Heard{Event: string(event), Version: int64(i + 1)})
			continue
		}
		records = append(records, traffic.Sent{
			Record: traffic.Record{ID: fmt.Sprint(i), Message: traffic.Message{Order: "o", Event: string(event)}},
			Place:  traffic.Place{Offset: int64(i)},
		})
	}
	return records, heard
}
