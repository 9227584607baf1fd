package statemachine_test

import (
	"context"
	"fmt"

	"github.com/looplab/fsm"

	"github.com/pawl-go/pawl/statemachine"
)

// A machine describes itself, for instance to a page of documentation.
func ExampleMachine_Definition() {
	order := statemachine.MustCompile(orderDefinition())
	fmt.Printf("%s, version %d\n", order.Name(), order.Version())
	fmt.Println("states:", order.States())
	fmt.Println("events:", order.Events())
	fmt.Println("created by:", order.Creating())
	for _, t := range order.Definition().Transitions {
		fmt.Printf("%v --%s--> %s\n", t.From, t.Event, t.To)
	}
	// Output:
	// order, version 1
	// states: [pending paid shipped delivered cancelled]
	// events: [order.placed payment.captured order.shipped order.delivered order.cancelled]
	// created by: [order.placed]
	// [] --order.placed--> pending
	// [pending] --payment.captured--> paid
	// [paid] --order.shipped--> shipped
	// [shipped] --order.delivered--> delivered
	// [pending paid] --order.cancelled--> cancelled
}

// A producer can check an event before it sends it.
func ExampleMachine_HasEvent() {
	order := statemachine.MustCompile(orderDefinition())
	for _, e := range []statemachine.Event{"order.shipped", "order.shiped", "invoice.sent"} {
		switch nearest := order.NearestEvent(e); {
		case order.HasEvent(e):
			fmt.Println(e, "is an event of an order")
		case nearest != "":
			fmt.Printf("no event %s; did you mean %s?\n", e, nearest)
		default:
			fmt.Println("no event", e)
		}
	}
	// Output:
	// order.shipped is an event of an order
	// no event order.shiped; did you mean order.shipped?
	// no event invoice.sent
}

// A job that archives orders needs those that will never change again. It leaves alone
// the states that this version of the machine does not know.
func ExampleMachine_IsTerminal() {
	order := statemachine.MustCompile(orderDefinition())
	for _, s := range []statemachine.State{"paid", "cancelled", "refunded"} {
		fmt.Printf("%s: known %t, terminal %t\n", s, order.Has(s), order.IsTerminal(s))
	}
	// Output:
	// paid: known true, terminal false
	// cancelled: known true, terminal true
	// refunded: known false, terminal false
}

// An order gets an event such as a note many times. To tell a second note from a repeated
// first one, its messages need IDs or expected versions.
func ExampleMachine_OnceOnly() {
	d := orderDefinition()
	d.Transitions = append(d.Transitions,
		statemachine.Transition{Event: "note.added", From: statemachine.In(paid), To: paid})
	order := statemachine.MustCompile(d)
	fmt.Println("payment.captured:", order.OnceOnly("payment.captured"))
	fmt.Println("note.added:", order.OnceOnly("note.added"))
	// Output:
	// payment.captured: true
	// note.added: false
}

func ExampleMachine_Graphviz() {
	payment := statemachine.MustCompile(statemachine.Definition{
		Name: "payment", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "authorized", To: "open"},
			{Event: "captured", From: statemachine.In("open"), To: "done"},
		},
		Terminal: statemachine.In("done"),
	})
	fmt.Print(payment.Graphviz())
	// Output:
	// digraph machine {
	//     label="payment v1";
	//     rankdir=LR;
	//     node [shape=box, style=rounded];
	//     start [shape=point, label=""];
	//     s1_open [label="open"];
	//     s2_done [label="done", peripheries=2];
	//     start -> s1_open [label="authorized"];
	//     s1_open -> s2_done [label="captured"];
	// }
}

// Code that was written for looplab/fsm can use the same machine, with looplab's callbacks.
func ExampleMachine_FSM() {
	order := statemachine.MustCompile(orderDefinition())
	machine, err := order.FSM(pending, fsm.Callbacks{
		"enter_paid": func(_ context.Context, e *fsm.Event) { fmt.Println("send a receipt:", e.Args[0]) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := machine.Event(context.Background(), "payment.captured", "order 42"); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(machine.Current())

	// looplab would never call this one, and would not say so.
	_, err = order.FSM(pending, fsm.Callbacks{"enter_pay": func(context.Context, *fsm.Event) {}})
	fmt.Println(err)
	// Output:
	// send a receipt: order 42
	// paid
	// callback "enter_pay" names no event or state of machine "order", so looplab would never call it; correct the name; did you mean "enter_paid"?
}
