package expect

import "github.com/pawl-go/pawl/examples/payments/internal/traffic"

// A Kind is the final fate of a record.
type Kind string

// The kinds. The zero value means that the record is lost.
const (
	Lost         Kind = ""
	Applied      Kind = "applied"
	Duplicate    Kind = "duplicate"
	Parked       Kind = "parked"
	DeadLettered Kind = "dead letter"
)

// A Fate is the kind, and the reason if the record was not applied.
type Fate struct {
	Kind   Kind
	Reason string // for a parked record or a dead letter
}

// String returns "kind" or "kind (reason)".
func (f Fate) String() string {
	switch {
	case f.Kind == Lost:
		return "lost"
	case f.Reason == "":
		return string(f.Kind)
	}
	return string(f.Kind) + " (" + f.Reason + ")"
}

// A Payment is the expected row of a payment.
type Payment struct {
	State       string
	Version     int64
	Currency    string
	Authorized  int64
	Captured    int64
	Refunded    int64
	ChargedBack int64
	Fees        int64 // in 1/10000 of the smallest unit
	rate        int64 // in 1/100000
}

// WithoutRate returns the payment as a query can read it.
func (p Payment) WithoutRate() Payment {
	p.rate = 0
	return p
}

// An Account is the expected row of an account.
type Account struct {
	State    string
	Version  int64
	Currency string
	Balance  int64
}

// A Result is what the database must say.
type Result struct {
	Fates    map[traffic.Place]Fate
	Payments map[string]Payment // only payments that were authorized
	Accounts map[string]Account // only accounts that were opened
}
