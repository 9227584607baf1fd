// Package statemachine declares, checks and compiles the state machine of an
// entity. It is pure: it does no I/O, knows neither Kafka nor PostgreSQL, and
// calls nothing of the user's but guards, and those only through the caller.
//
// # A machine is data
//
//	const (
//		Pending   statemachine.State = "pending"
//		Paid      statemachine.State = "paid"
//		Shipped   statemachine.State = "shipped"
//		Delivered statemachine.State = "delivered"
//		Cancelled statemachine.State = "cancelled"
//	)
//
//	var Order = statemachine.MustCompile(statemachine.Definition{
//		Name: "order", Version: 1,
//		Transitions: []statemachine.Transition{
//			{Event: "order.placed", To: Pending}, // no From: creates the entity
//			{Event: "payment.captured", From: statemachine.In(Pending), To: Paid},
//			{Event: "order.shipped", From: statemachine.In(Paid), To: Shipped},
//			{Event: "order.delivered", From: statemachine.In(Shipped), To: Delivered},
//			{Event: "order.cancelled", From: statemachine.In(Pending, Paid), To: Cancelled},
//		},
//		Terminal: statemachine.In(Delivered, Cancelled),
//	})
//
// Every entity begins in [None], does not leave a terminal state, and moves by
// transitions in between. [Compile] checks that this is so, and reports all that
// is wrong at once as a [*DefinitionError]: a misspelt state, a state that
// nothing reaches or that nothing ends, an event with two targets.
//
// # What a machine answers
//
// [Machine.Fire] tells where an event leads. Where it leads nowhere,
// [Machine.Classify] tells why, which is what a worker needs for a record that
// came too early, twice, or by mistake:
//
//	Order.Fire(Pending, "payment.captured")      // Paid, true
//	Order.Classify(Pending, "order.shipped")     // Later: park it
//	Order.Classify(Shipped, "payment.captured")  // Behind: a duplicate, if that can be proven
//	Order.Classify(Cancelled, "order.delivered") // Never: reject it
//
// Both are two map lookups and allocate nothing.
//
// # When the state alone proves a duplicate
//
// Without a memory of messages, an event that lies behind the state is a
// duplicate only if no path can take an event twice, and none can reach the
// state without it. [Machine.ProveStateIdentity] decides that, and prints the
// path that speaks against it: order may be cancelled before it is paid, and
// then a late payment.captured is not a duplicate but money.
//
// # looplab/fsm
//
// github.com/looplab/fsm decides the transitions: the table is filled in by
// making each of them there. Its event lists come in through [FromLooplab], and
// [Machine.FSM] gives one of its machines, with callbacks that are checked.
package statemachine
