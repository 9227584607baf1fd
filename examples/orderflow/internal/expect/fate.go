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
