package main

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/shopspring/decimal"

	"github.com/pawl-go/pawl/examples/payments/internal/expect"
	"github.com/pawl-go/pawl/examples/payments/internal/traffic"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

// TestModelAgrees plays traffic to a store in memory, in batches of any size, and compares
// every record's fate and every row with the demo's model, which shares no code with the
// machines.
func TestModelAgrees(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			sent := place(traffic.Generate(traffic.Plan{Payments: 300, Accounts: 30, Seed: seed}).Records)
			store := versioningtest.NewMemory(versioning.Rules{Machine: Payment, MaxParked: 100}, versioning.Rules{Machine: Account, MaxParked: 100})
			got := play(t, store, sent, rand.New(rand.NewPCG(seed, 1)))
			want := expect.Of(sent)
			if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(expect.Payment{})); diff != "" {
				t.Errorf("the store differs from the model (-want +got):\n%s", diff)
			}
		})
	}
}

// place puts records into one partition. It leaves out those that only a database can
// refuse.
func place(records []traffic.Record) (sent []traffic.Sent) {
	for _, r := range records {
		if r.Message.Currency != "XAU" {
			sent = append(sent, traffic.Sent{Record: r, Place: traffic.Place{Offset: int64(len(sent))}})
		}
	}
	return sent
}

// play applies records in batches and returns what the store says about them.
func play(t *testing.T, store *versioningtest.Memory, sent []traffic.Sent, rng *rand.Rand) expect.Result {
	t.Helper()
	result := expect.Result{
		Fates: make(map[traffic.Place]expect.Fate), Payments: make(map[string]expect.Payment), Accounts: make(map[string]expect.Account),
	}
	for left := sent; len(left) > 0; {
		batch := left[:min(len(left), 1+rng.IntN(60))]
		left = left[len(batch):]
		records := make([]*versioning.Record, len(batch))
		for i, s := range batch {
			records[i] = &versioning.Record{
				Origin: versioning.Origin{Topic: "payments", Offset: s.Place.Offset}, Key: []byte(s.Key), Value: s.Value(),
				Headers: []versioning.Header{{Key: "ce_source", Value: []byte("/payments/gateway")}, {Key: "ce_id", Value: []byte(s.ID)}},
			}
			records[i].Decode(decode)
			store.Prepare(records[i])
		}
		applied, err := store.Apply(t.Context(), "", records)
		if err != nil {
			t.Fatal(err)
		}
		for i, o := range applied.Outcomes {
			result.Fates[batch[i].Place] = fateOf(o)
		}
		for _, released := range applied.Released {
			result.Fates[traffic.Place{Offset: released.Record.Origin.Offset}] = fateOf(released.Outcome)
		}
	}
	for entity, row := range store.Rows() {
		addRow(t, &result, entity, row)
	}
	return result
}

func fateOf(o versioning.Outcome) expect.Fate {
	kind := map[versioning.Verdict]expect.Kind{
		versioning.Applied: expect.Applied, versioning.Duplicate: expect.Duplicate, versioning.Early: expect.Parked,
		versioning.Rejected: expect.DeadLettered, versioning.Diverged: expect.DeadLettered,
	}[o.Verdict]
	return expect.Fate{Kind: kind, Reason: string(o.Reason)}
}

func addRow(t *testing.T, result *expect.Result, entity versioning.Entity, row versioningtest.Row) {
	t.Helper()
	c := row.Columns
	if entity.Machine == Account.Name() {
		result.Accounts[entity.Key] = expect.Account{
			State: string(row.State), Version: row.Version, Currency: c["currency"].(string), Balance: c["balance"].(int64),
		}
		return
	}
	fees := c["fees"].(decimal.Decimal).Shift(feePlaces)
	if !fees.IsInteger() {
		t.Errorf("payment %s has fees of %s", entity.Key, c["fees"])
	}
	result.Payments[entity.Key] = expect.Payment{
		State: string(row.State), Version: row.Version, Currency: c["currency"].(string), Authorized: c["authorized"].(int64),
		Captured: c["captured"].(int64), Refunded: c["refunded"].(int64), ChargedBack: c["charged_back"].(int64), Fees: fees.IntPart(),
	}
}
