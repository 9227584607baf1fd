package statemachine_test

import (
	"errors"
	"fmt"

	"github.com/looplab/fsm"

	"github.com/pawl-go/pawl/statemachine"
)

func ExampleCompile() {
	order, err := statemachine.Compile(statemachine.Definition{
		Name: "order", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "order.placed", To: "pending"}, // no From: creates the entity
			{Event: "payment.captured", From: statemachine.In("pending"), To: "paid"},
			{Event: "order.cancelled", From: statemachine.In("pending", "paid"), To: "cancelled"},
			{Event: "order.delivered", From: statemachine.In("paid"), To: "delivered"},
		},
		Terminal: statemachine.In("delivered", "cancelled"),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(order.Fire(statemachine.None, "order.placed"))
	fmt.Println(order.Fire("pending", "payment.captured"))
	fmt.Println(order.Fire("pending", "order.delivered"))
	// Output:
	// pending true
	// paid true
	//  false
}

// One error reports all mistakes of a definition.
func ExampleCompile_refused() {
	_, err := statemachine.Compile(statemachine.Definition{
		Name: "order", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "order.placed", To: "pending"},
			{Event: "payment.captured", From: statemachine.In("pendng"), To: "paid"},
			{Event: "payment.failed", From: statemachine.In("pending"), To: "failed"},
		},
		Terminal: statemachine.In("paid"),
	})
	fmt.Println(err)
	fmt.Println(errors.Is(err, statemachine.ErrUndeclaredState))
	// Output:
	// statemachine: invalid definition of machine "order", problems: 2
	//   - transition 1 (event "payment.captured"): state "pendng" is listed in From, but no transition leads to it; correct the name or add the transition; did you mean "pending"?
	//   - no terminal state can be reached from state "failed"; add a transition out of it or list it in Terminal
	// true
}

func ExampleMachine_Classify() {
	order := statemachine.MustCompile(orderDefinition())
	fmt.Println(order.Classify("pending", "payment.captured"))
	fmt.Println(order.Classify("pending", "order.shipped"))
	fmt.Println(order.Classify("shipped", "payment.captured"))
	fmt.Println(order.Classify("cancelled", "order.delivered"))
	fmt.Println(order.Classify("pending", "invoice.sent"))
	// Output:
	// now
	// later
	// behind
	// never
	// unknown
}

func ExampleMachine_ProveStateIdentity() {
	order := statemachine.MustCompile(orderDefinition())
	if doubt, ok := errors.AsType[*statemachine.IdentityError](order.ProveStateIdentity()); ok {
		fmt.Println(doubt.Event, "may have been skipped before", doubt.State)
		fmt.Println(doubt.Path)
	}
	// Output:
	// payment.captured may have been skipped before cancelled
	// (none) --order.placed--> pending --order.cancelled--> cancelled
}

func ExampleMachine_Mermaid() {
	door := statemachine.MustCompile(statemachine.Definition{
		Name: "door", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "install", To: "shut"},
			{Event: "remove: for good", From: statemachine.In("shut"), To: "gone"},
		},
		Terminal: statemachine.In("gone"),
	})
	fmt.Print(door.Mermaid())
	// Output:
	// stateDiagram-v2
	//     state "shut" as s1_shut
	//     state "gone" as s2_gone
	//     [*] --> s1_shut : install
	//     s1_shut --> s2_gone : remove#58; for good
	//     s2_gone --> [*]
}

func ExampleFromLooplab() {
	events := []fsm.EventDesc{
		{Name: "open", Src: []string{"closed"}, Dst: "open"},
		{Name: "close", Src: []string{"open"}, Dst: "closed"},
		{Name: "remove", Src: []string{"open", "closed"}, Dst: "removed"},
	}
	// Instead of fsm.NewFSM("closed", ...), an event creates a closed door.
	install := statemachine.Transition{Event: "install", To: "closed"}
	d, err := statemachine.FromLooplab("door", 1, events, install, "removed")
	if err != nil {
		fmt.Println(err)
		return
	}
	door := statemachine.MustCompile(d)
	fmt.Println(door.Fire(statemachine.None, "install"))
	fmt.Println(door.Fire("closed", "remove"))
	// Output:
	// closed true
	// removed true
}
