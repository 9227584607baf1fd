package expect

// A Kind is the final fate of a record.
type Kind string

// The kinds. The zero value means that the record is lost.
const (
	Lost         Kind = ""
	Applied      Kind = "applied"
	Duplicate    Kind = "duplicate"
	Parked       Kind = "parked"
	DeadLettered Kind = "dead_lettered"
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

// An Order is the expected row of an order.
type Order struct {
	State    string
	Version  int64
	Customer string
	Total    string
	Tracking string // may be empty
	Reason   string // may be empty
}

// A Payment is the expected row of an order's payment.
type Payment struct {
	State   string
	Version int64
	Amount  string
	Card    string // the last one that the customer has tried
}

// A Charge is what the provider must have been asked for, and its answer.
type Charge struct {
	Order    string
	Amount   string
	Card     string
	Captured bool
	Refunded bool
}

// Heard is an event that an order did not get from the topic, but from the provider or from a
// timer.
type Heard struct {
	Event   string
	Version int64 // of the order after the event
}
