package pawltest_test

import (
	"github.com/pawl-go/pawl/pawltest"
	"github.com/pawl-go/pawl/versioning"
)

// The tests of this file are copies of what the walks of mistakes_test.go print.

func pastedImpure(t pawltest.TB) {
	w := pawltest.New(t, impureWalk.Config)
	w.Give("e1", "payment.authorized", Money{Amount: 100})
	w.Give("e1", "payment.noted", Note{Text: "fragile"})
}

func pastedLoses(t pawltest.TB) {
	w := pawltest.New(t, losesWalk.Config)
	w.Give("e1", "payment.authorized", Money{Amount: 100})
	w.Give("e1", "payment.captured", Money{Amount: 40})
	w.Give("e1", "payment.captured", Money{Amount: 60})
	w.Hold(losesWalk.Invariants...)
}

func pastedOrders(t pawltest.TB) {
	one := pawltest.New(t, ordersWalk.Config)
	one.Give("e1", "payment.authorized", Money{Amount: 100})
	one.Give("e1", "payment.captured", Money{Amount: 40})
	one.Give("e1", "payment.captured", Money{Amount: 40})
	one.Give("e1", "payment.refunded", Money{Amount: 40})
	other := pawltest.New(t, ordersWalk.Config)
	other.Give("e1", "payment.authorized", Money{Amount: 100})
	other.Give("e1", "payment.captured", Money{Amount: 40})
	other.Give("e1", "payment.refunded", Money{Amount: 40})
	other.Give("e1", "payment.captured", Money{Amount: 40})
	one.WantSame(other)
}

func pastedNotYet(t pawltest.TB) {
	one := pawltest.New(t, notYetWalk.Config)
	one.Give("e1", "payment.authorized", Money{Amount: 100})
	one.Give("e1", "payment.captured", Money{Amount: 40})
	one.Give("e1", "payment.captured", Money{Amount: 60})
	one.Give("e1", "payment.refunded", Money{Amount: 100})
	other := pawltest.New(t, notYetWalk.Config)
	other.Give("e1", "payment.authorized", Money{Amount: 100})
	other.Give("e1", "payment.captured", Money{Amount: 40})
	other.Give("e1", "payment.refunded", Money{Amount: 100})
	other.Give("e1", "payment.captured", Money{Amount: 60})
	one.WantSame(other)
}

func pastedTwice(t pawltest.TB) {
	w := pawltest.New(t, twiceWalk.Config)
	w.Send(pawltest.Record{Topic: "payments", Key: "e1", Value: `{"id":"m1","type":"payment.authorized","payment":"e1","amount":100}`})
	d1 := w.Send(pawltest.Record{Topic: "payments", Key: "e1", Value: `{"id":"m2","type":"payment.captured","payment":"e1","amount":40}`})
	d2 := d1.Resend()
	d2.Want(versioning.Duplicate)
}
