// Package statemachine declares, checks and compiles the state machine of an
// entity. It does no I/O and knows nothing about Kafka or PostgreSQL. It never
// calls the functions of a machine itself; it returns them to the caller.
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
// Every entity starts in [None], moves by transitions, and never leaves a
// terminal state. [Compile] checks this and reports all problems at once as a
// [*DefinitionError]: a misspelt state, an unreachable state, a state with no
// path to a terminal state, an event with two targets.
//
// # Fire and Classify
//
// [Machine.Fire] returns the state an event leads to. If the event is not
// legal, [Machine.Classify] says why. A worker needs that for a record that
// came too early, twice or by mistake:
//
//	Order.Fire(Pending, "payment.captured")      // Paid, true
//	Order.Classify(Pending, "order.shipped")     // Later: park it
//	Order.Classify(Shipped, "payment.captured")  // Behind: a duplicate, if the machine passes ProveStateIdentity
//	Order.Classify(Cancelled, "order.delivered") // Never: reject it
//
// Both do two map lookups and allocate nothing.
//
// # A transition computes
//
// A transition may have functions over the entity's row and the event's data. [When]
// chooses between several targets of one event, its branches; [Do] changes the row or
// refuses the record:
//
//	{Event: "payment.captured", From: statemachine.In(Authorized), To: Captured,
//		When: statemachine.When("covers the rest", coversTheRest), Do: statemachine.Do(capture)},
//	{Event: "payment.captured", From: statemachine.In(Authorized), To: Authorized, Do: statemachine.Do(capture)},
//
//	func coversTheRest(p Payment, c Capture) bool { return p.Captured+c.Amount == p.Amount }
//
//	func capture(f *statemachine.Firing, p *Payment, c Capture) error {
//		if p.Captured+c.Amount > p.Amount {
//			return errors.New("more than the authorized amount") // the record becomes a dead letter
//		}
//		p.Captured += c.Amount
//		return nil
//	}
//
// Both are pure functions. The analysis counts every branch as possible.
//
// # A transition causes something
//
// An action tells its [Firing] what the transition is to cause: a message to a topic
// ([Firing.Emit]), a job ([Firing.Enqueue]), or an event at a later time ([Firing.At]).
// Nothing happens at that moment. The store writes all of it together with the row. An event
// that always happens some time after the entity has entered a state is declared:
//
//	{Event: "payment.expired", From: statemachine.In(Authorized), To: Voided, After: 7 * 24 * time.Hour},
//
// # Detecting duplicates by state alone
//
// Without a history of messages, an event behind the current state is a
// duplicate only if no path takes an event twice and no path reaches the state
// without it. [Machine.ProveStateIdentity] checks this and prints a
// counterexample. The order above fails: it can be cancelled before it is paid,
// and then a late payment.captured is not a duplicate but a payment that would
// be lost.
//
// # looplab/fsm
//
// Compile fills the transition table by making each transition in
// github.com/looplab/fsm. [FromLooplab] converts a looplab event list to a
// definition. [Machine.FSM] returns a looplab machine and checks its callbacks.
package statemachine
