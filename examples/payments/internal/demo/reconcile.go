package demo

import (
	"fmt"
	"maps"
	"slices"

	"github.com/pawl-go/pawl/examples/payments/internal/expect"
	"github.com/pawl-go/pawl/examples/payments/internal/traffic"
)

// reconcile compares what was produced with what the database says: every record must have
// exactly the fate, and every payment and account the row, that the model expects, and the
// rows must add up to the accepted records, to the cent.
func (r *Report) reconcile(ledger []traffic.Sent, f *found, want expect.Result) {
	r.Produced = len(ledger)
	for _, record := range ledger {
		r.count(record, f, want.Fates[record.Place])
	}
	known := make(map[traffic.Place]bool, len(ledger))
	for _, record := range ledger {
		known[record.Place] = true
	}
	for at, fates := range f.fates {
		if !known[at] {
			r.problem("record %d@%d is %v, but was never produced", at.Partition, at.Offset, fates)
		}
	}
	for m, steps := range f.steps {
		if steps > 1 {
			r.AppliedTwice++
			r.problem("message %s moved %s %d times", m.id, m.key, steps)
		}
	}
	compareRows(r, "payment", f.payments, want.Payments)
	compareRows(r, "account", f.accounts, want.Accounts)
	r.countMoney(ledger, f)
}

// count counts a record by its fate and reports problems with it.
func (r *Report) count(record traffic.Sent, f *found, want expect.Fate) {
	at := record.Place
	if n := len(f.fates[at]); n > 1 {
		r.problem("record %d@%d has %d fates: %v", at.Partition, at.Offset, n, f.fates[at])
	}
	got := f.fateOf(record)
	r.Fates[got.Kind]++
	if got.Reason != "" {
		r.Reasons[got]++
	}
	if got != want {
		r.problem("record %d@%d (%s, message %s) is %v, want %v",
			at.Partition, at.Offset, record.Message.Type, record.ID, got, want)
	}
}

// fateOf returns the fate of a record. A record that is not in the database itself is a
// duplicate if its message has moved something: the history proves it.
func (f *found) fateOf(r traffic.Sent) expect.Fate {
	if fates := f.fates[r.Place]; len(fates) > 0 {
		return fates[0]
	}
	m := r.Message
	if r.Damage == traffic.Intact && f.steps[message{m.Payment + m.Account + m.From, r.MessageID()}] > 0 {
		return expect.Fate{Kind: expect.Duplicate}
	}
	return expect.Fate{Kind: expect.Lost}
}

func compareRows[Row comparable](r *Report, what string, got, want map[string]Row) {
	for key, row := range got {
		if _, expected := want[key]; !expected {
			r.problem("%s %s is %+v, but must not exist", what, key, row)
		}
	}
	for key, row := range want {
		if got[key] != row {
			r.problem("%s %s is %+v, want %+v", what, key, got[key], row)
		}
	}
}

// countMoney adds up the accepted records and the rows. Neither sum uses the model.
func (r *Report) countMoney(ledger []traffic.Sent, f *found) {
	for _, record := range ledger {
		if f.fateOf(record).Kind == expect.Applied {
			m := record.Message
			r.Accepted[m.Currency] = r.Accepted[m.Currency].plus(m)
		}
	}
	delete(r.Accepted, "") // messages without an amount
	for _, p := range f.payments {
		sum := r.Rows[p.Currency]
		sum.Authorized += p.Authorized
		sum.Captured += p.Captured
		sum.Refunded += p.Refunded
		sum.ChargedBack += p.ChargedBack
		r.Rows[p.Currency] = sum
		r.Fees[p.Currency] += p.Fees
	}
	for key, a := range f.accounts {
		sum := r.Rows[a.Currency]
		sum.Accounts += a.Balance
		r.Rows[a.Currency] = sum
		r.Interest[a.Currency] += f.written.interest[key]
		if a.Balance < 0 {
			r.problem("account %s has a balance of %d", key, a.Balance)
		}
	}
	for currency := range mergeKeys(r.Accepted, r.Rows) {
		if in, out := r.Accepted[currency], r.Rows[currency]; in != out {
			r.MoneyLost++
			r.problem("%s: the accepted records add up to %+v, but the rows to %+v", currency, in, out)
		}
	}
}

// compareWrites compares what colleagues have written with what is in the tables.
func (r *Report) compareWrites(made, found written) {
	for key := range mergeKeys(made.reviews, found.reviews) {
		r.compareWrite("risk reviews of payment "+key, made.reviews[key], found.reviews[key])
		if made.notes[key] != found.notes[key] {
			r.WritesLost++
			r.problem("the risk note of payment %s is %q, but a colleague wrote %q", key, found.notes[key], made.notes[key])
		}
	}
	for key := range mergeKeys(made.interest, found.interest) {
		r.compareWrite("interest of account "+key, made.interest[key], found.interest[key])
	}
}

func (r *Report) compareWrite(what string, made, found int64) {
	r.Writes += int(made)
	if made != found {
		r.WritesLost += int(max(made-found, found-made))
		r.problem("%s: colleagues wrote %d, but the row has %d", what, made, found)
	}
}

// compareSnapshots reports the rows that the replay changed.
func (r *Report) compareSnapshots(before, after snapshot) {
	for _, row := range slices.Sorted(maps.Keys(mergeKeys(before, after))) {
		if before[row] != after[row] {
			r.MovedByReplay++
			r.problem("the replay changed %s from %q to %q", row, before[row], after[row])
		}
	}
}

func mergeKeys[V any](a, b map[string]V) map[string]bool {
	keys := make(map[string]bool)
	for k := range a {
		keys[k] = true
	}
	for k := range b {
		keys[k] = true
	}
	return keys
}

// maxProblems limits how many problems the report describes.
const maxProblems = 20

func (r *Report) problem(format string, args ...any) {
	r.Mismatches++
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}
