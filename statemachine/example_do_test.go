package statemachine_test

import (
	"errors"
	"fmt"

	"github.com/pawl-go/pawl/statemachine"
)

type (
	payment  struct{ Amount, Captured int64 }
	captured struct{ Amount int64 }
)

// captureMoney is pure: the same arguments always give the same row or the same refusal.
func captureMoney(_ *statemachine.Firing, p *payment, c captured) error {
	if p.Captured+c.Amount > p.Amount {
		return fmt.Errorf("captures would exceed the %d authorized", p.Amount)
	}
	p.Captured += c.Amount
	return nil
}

// A store tries the branches of an event in their order, and calls the action of the first
// one whose condition holds. Functions can be tested without a store, of course.
func ExampleDo() {
	const authorized, partly, paid = "authorized", "partly", "paid"
	machine := statemachine.MustCompile(statemachine.Definition{
		Name: "payment", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "payment.authorized", To: authorized, Do: statemachine.Do(func(_ *statemachine.Firing, p *payment, c captured) error {
				p.Amount = c.Amount
				return nil
			})},
			{
				Event: "payment.captured", From: statemachine.In(authorized, partly), To: paid,
				When: statemachine.When("covers the rest", func(p payment, c captured) bool { return p.Captured+c.Amount == p.Amount }),
				Do:   statemachine.Do(captureMoney),
			},
			{Event: "payment.captured", From: statemachine.In(authorized, partly), To: partly, Do: statemachine.Do(captureMoney)},
		},
		Terminal: statemachine.In(paid),
	})
	fmt.Println("row", machine.RowType(), "event", machine.EventType("payment.captured"))

	row := payment{Amount: 100, Captured: 60}
	for _, amount := range []int64{30, 10, 1} {
		data := captured{amount}
		for _, branch := range machine.Branches("partly", "payment.captured") {
			if !branch.Holds(&row, data) {
				continue
			}
			fmt.Printf("%d: to %s (conditional %v, %q, acts %v): ", amount, branch.To, branch.IsConditional(), branch.Label(), branch.Acts())
			err := branch.Act(&statemachine.Firing{Key: "p1", Version: 3}, &row, data)
			fmt.Println(row, err)
			break
		}
	}
	// Output:
	// row statemachine_test.payment event statemachine_test.captured
	// 30: to partly (conditional false, "", acts true): {100 90} <nil>
	// 10: to paid (conditional true, "covers the rest", acts true): {100 100} <nil>
	// 1: to partly (conditional false, "", acts true): {100 100} captures would exceed the 100 authorized
}

// A refund that arrives before the capture it refers to waits for it.
func ExampleNotYet() {
	refund := func(_ *statemachine.Firing, p *payment, c captured) error {
		if c.Amount > p.Captured {
			return statemachine.NotYet(errors.New("more than was captured so far"))
		}
		p.Captured -= c.Amount
		return nil
	}
	err := refund(&statemachine.Firing{}, &payment{Amount: 100}, captured{30})
	fmt.Println(err, statemachine.IsNotYet(err))
	// Output: more than was captured so far true
}

// An ID of the step, for example for a row of a ledger, is the same whenever the step is
// computed again.
func ExampleFiring_ID() {
	step := statemachine.Firing{Machine: "payment", Key: "p1", Version: 3}
	fmt.Println(step.ID())
	// Output: 8f99be6e-30de-8a26-a628-e769a0bd2ddc
}
