package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/shopspring/decimal"

	"github.com/pawl-go/pawl/examples/payments/internal/traffic"
	"github.com/pawl-go/pawl/versioning"
)

func TestDecode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, value string
		want        []versioning.Change
	}{
		{
			"authorized", `{"type":"payment.authorized","payment":"p","amount":1250,"currency":"EUR","fee_rate":"0.014"}`,
			[]versioning.Change{{
				Machine: "payment", Key: "p", Event: PaymentAuthorized,
				Data: Authorization{eur(1250), decimal.RequireFromString("0.014")},
			}},
		},
		{
			"captured", `{"type":"payment.captured","payment":"p","amount":1250,"currency":"EUR"}`,
			[]versioning.Change{{Machine: "payment", Key: "p", Event: PaymentCaptured, Data: eur(1250)}},
		},
		{
			"voided", `{"type":"payment.voided","payment":"p"}`,
			[]versioning.Change{{Machine: "payment", Key: "p", Event: PaymentVoided}},
		},
		{
			"paid in", `{"type":"account.paid_in","account":"a","amount":9007199254740993,"currency":"EUR"}`,
			[]versioning.Change{{Machine: "account", Key: "a", Event: AccountPaidIn, Data: eur(9007199254740993)}},
		},
		{
			"closed", `{"type":"account.closed","account":"a"}`,
			[]versioning.Change{{Machine: "account", Key: "a", Event: AccountClosed}},
		},
		{
			"a transfer", `{"type":"transfer.made","from":"a","to":"b","amount":5,"currency":"EUR"}`,
			[]versioning.Change{
				{Machine: "account", Key: "a", Event: AccountDebited, Data: eur(5)},
				{Machine: "account", Key: "b", Event: AccountCredited, Data: eur(5)},
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := decode(&versioning.Record{Value: []byte(c.value)})
			if err != nil {
				t.Fatal(err)
			}
			sameExpected := func(a, b versioning.Expected) bool { return a == b }
			if diff := cmp.Diff(c.want, got, cmp.Comparer(sameExpected)); diff != "" {
				t.Errorf("changes differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, value, want string
		reason            versioning.Reason // empty: undecodable
	}{
		{"a tombstone", "", "tombstone", ""},
		{"truncated JSON", `{"type":"payment.cap`, "decode JSON", ""},
		{"euros, not cents", `{"type":"payment.captured","payment":"p","amount":12.50,"currency":"EUR"}`, "decode JSON", ""},
		{"more than 64 bits", `{"type":"payment.captured","payment":"p","amount":9223372036854775808,"currency":"EUR"}`, "decode JSON", ""},
		{"no payment", `{"type":"payment.captured","amount":1250,"currency":"EUR"}`, "does not name", ""},
		{"no recipient", `{"type":"transfer.made","from":"a","amount":5,"currency":"EUR"}`, "does not name", ""},
		{"to itself", `{"type":"transfer.made","from":"a","to":"a","amount":5,"currency":"EUR"}`, `"a" can't transfer to itself`, versioning.ReasonRefused},
		{"an unknown type", `{"type":"account.debited","account":"a","amount":5,"currency":"EUR"}`, "account.debited", versioning.ReasonUnknownEvent},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			record := &versioning.Record{}
			if c.value != "" {
				record.Value = []byte(c.value)
			}
			changes, err := decode(record)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("decode = %v, %v; want an error with %q", changes, err, c.want)
			}
			var refusal *versioning.Refusal
			if errors.As(err, &refusal) != (c.reason != "") || refusal != nil && refusal.Reason != c.reason {
				t.Errorf("the reason of %v is not %q", err, c.reason)
			}
		})
	}
}

// FuzzDecode checks that decoding any value returns either changes with keys, or an error.
func FuzzDecode(f *testing.F) {
	for _, r := range traffic.Generate(traffic.Plan{Payments: 20, Accounts: 10, Seed: 1}).Records {
		f.Add(r.Value())
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		got, err := decode(&versioning.Record{Value: value})
		if err == nil && len(got) == 0 {
			t.Errorf("decode(%q) returned no change and no error", value)
		}
		for _, c := range got {
			if c.Key == "" || c.Event == "" {
				t.Errorf("decode(%q) = %+v", value, got)
			}
		}
	})
}
