package traffic

import (
	"fmt"
	"iter"
	"time"

	"github.com/pawl-go/pawl/statemachine"
)

// An Announcement is the message that each transition sends in the workloads with messages.
type Announcement struct {
	Key      string             `json:"key"`
	Event    statemachine.Event `json:"event"`
	From     statemachine.State `json:"from"`
	To       statemachine.State `json:"to"`
	Version  int64              `json:"version"`
	Currency string             `json:"currency"`
	Total    string             `json:"total"`
}

// Announcing returns [Order] with a message to a topic in each transition.
func Announcing(topic string) (*statemachine.Machine, error) {
	announce := func(f *statemachine.Firing, _ *struct{}, _ struct{}) error {
		f.Emit(topic, Announcement{f.Key, f.Event, f.From, f.To, f.Version, "EUR", "129.90"})
		return nil
	}
	d := Order.Definition()
	for i := range d.Transitions {
		d.Transitions[i].Do = statemachine.Do(announce)
	}
	return statemachine.Compile(d)
}

// Expiring is [Order], but each of its transitions arms a timer.
var Expiring = expiring()

func expiring() *statemachine.Machine {
	d := Order.Definition()
	d.Name = "expiring"
	d.Terminal = statemachine.In("cancelled", "expired", "closed")
	d.Transitions = append(d.Transitions,
		statemachine.Transition{Event: "order.expired", From: statemachine.In("pending", "paid", "shipped"), To: "expired", After: 24 * time.Hour},
		statemachine.Transition{Event: "order.closed", From: statemachine.In("delivered"), To: "closed", After: 24 * time.Hour})
	return statemachine.MustCompile(d)
}

// Placed generates the events that create n orders, and Expired the events that end them,
// in the order of their keys.
func Placed(run string, n int) iter.Seq[Event] { return single(run, n, 0, "order.placed") }

// Expired is described at Placed.
func Expired(run string, n int) iter.Seq[Event] { return single(run, n, 1, "order.expired") }

func single(run string, n, nth int, name statemachine.Event) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		for i := range n {
			key := fmt.Sprintf("ord-%s-%07d", run, i)
			if !yield(Event{Key: key, Name: name, ID: messageID(key, nth)}) {
				return
			}
		}
	}
}
