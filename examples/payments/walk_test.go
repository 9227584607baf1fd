package main

import (
	"fmt"
	"testing"

	"github.com/shopspring/decimal"

	"github.com/pawl-go/pawl/pawltest"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// paymentWalk walks a payment of 10.00 euros. Refunds and chargebacks come from elsewhere than
// captures, so they may come before them.
var paymentWalk = pawltest.Walk{
	Name:   "paymentWalk",
	Config: pawltest.Config{Tables: []postgres.Table{{Machine: Payment}}},
	Data: map[statemachine.Event][]any{
		PaymentAuthorized:  {Authorization{eur(1000), decimal.RequireFromString("0.014")}, Authorization{Money: eur(-1)}},
		PaymentCaptured:    {eur(1000), eur(400), eur(600), eur(0)},
		PaymentRefunded:    {eur(1000), eur(400), Money{600, "USD"}},
		PaymentChargedBack: {eur(1000), eur(400)},
	},
	Invariants: []pawltest.Invariant{
		pawltest.Each("no more is captured than authorized, and no more goes back than was captured", func(_ *pawltest.Entity, p PaymentRow) error {
			if p.Captured > p.Authorized || p.kept() < 0 || p.Captured < 0 {
				return fmt.Errorf("%d authorized, %d captured, %d kept", p.Authorized, p.Captured, p.kept())
			}
			return nil
		}),
		pawltest.Each("the fee is that of what was captured", func(_ *pawltest.Entity, p PaymentRow) error {
			if want := fee(p.Captured, p.FeeRate); !p.Fees.Equal(want) { // these amounts need no rounding
				return fmt.Errorf("the fees are %s, want %s", p.Fees, want)
			}
			return nil
		}),
	},
}

func TestPaymentWalk(t *testing.T) {
	t.Parallel()
	paymentWalk.Run(t)
}

// transferWalk walks two accounts. Its records move both.
var transferWalk = pawltest.Walk{
	Name:   "transferWalk",
	Config: pawltest.Config{Tables: []postgres.Table{{Machine: Account}}, Decode: decode},
	Records: func(id string) (all []pawltest.Record) {
		for _, value := range []string{
			`{"type":"account.opened","account":"a","amount":100,"currency":"EUR"}`,
			`{"type":"account.opened","account":"b","amount":0,"currency":"EUR"}`,
			`{"type":"transfer.made","from":"a","to":"b","amount":70,"currency":"EUR"}`,
			`{"type":"transfer.made","from":"b","to":"a","amount":70,"currency":"EUR"}`,
			`{"type":"account.closed","account":"b"}`,
		} {
			all = append(all, pawltest.Record{Value: value, Headers: map[string]string{"ce_source": "/bank", "ce_id": id}})
		}
		return all
	},
	Except: []string{"open account.paid_in"}, // it would make money
	Invariants: []pawltest.Invariant{
		pawltest.Together("transfers neither make money nor lose any", func(all []*pawltest.Entity) error {
			var sum, deposits int64
			for _, e := range all {
				sum += e.Row.(AccountRow).Balance
				if e.Key == "a" {
					deposits = 100
				}
			}
			if sum != deposits {
				return fmt.Errorf("the balances add up to %d, and %d were paid in", sum, deposits)
			}
			return nil
		}),
	},
}

func TestTransferWalk(t *testing.T) {
	t.Parallel()
	transferWalk.Run(t)
}
