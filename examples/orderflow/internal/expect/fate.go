package expect

// A Kind is what became of a record in the end.
type Kind string

// The kinds. The zero value means that the record is nowhere: it is lost.
const (
	Lost         Kind = ""
	Applied      Kind = "applied"
	Duplicate    Kind = "duplicate"
	Parked       Kind = "parked"
	DeadLettered Kind = "dead_lettered"
)

// A Fate is what became of a record, and why if it was not applied.
type Fate struct {
	Kind   Kind
	Reason string // of a parked record or a dead letter
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

// An Order is what the row of an order has to say in the end.
type Order struct {
	State    string
	Version  int64
	Customer string
	Total    string
	Tracking string // empty: none
	Reason   string // empty: none
}
