package expect

import (
	"slices"
	"strconv"
	"strings"

	"github.com/pawl-go/pawl/examples/payments/internal/traffic"
)

var (
	applied = Fate{Kind: Applied}
	refused = Fate{DeadLettered, "refused"}
	illegal = Fate{DeadLettered, "illegal"}
	notYet  = Fate{Parked, "not_yet"}
)

// after returns what a message does to the payment. The payment of version 0 does not exist
// yet.
func (p Payment) after(m traffic.Message) (Fate, Payment) {
	switch {
	case m.Type == traffic.Authorized:
		return p.authorize(m)
	case p.Version == 0:
		return Fate{Parked, "no_entity"}, p
	case m.Type == traffic.Voided && p.State == "authorized":
		return applied, p.in("voided")
	case m.Type == traffic.Captured && (p.State == "authorized" || p.State == "partly_captured"):
		return p.capture(m)
	case m.Type != traffic.Refunded && m.Type != traffic.ChargedBack:
		return illegal, p
	case p.State == "authorized":
		return notYet, p // before the first capture
	case p.State == "partly_captured" || p.State == "captured":
		return p.giveBack(m)
	}
	return illegal, p
}

func (p Payment) in(state string) Payment {
	p.State = state
	p.Version++
	return p
}

func (p Payment) authorize(m traffic.Message) (Fate, Payment) {
	switch {
	case p.Version > 0:
		return illegal, p
	case m.Amount <= 0:
		return refused, p
	case !slices.Contains(traffic.Currencies, m.Currency):
		return Fate{DeadLettered, "constraint"}, p
	}
	return applied, Payment{Currency: m.Currency, Authorized: m.Amount, rate: hundredThousandths(m.FeeRate)}.in("authorized")
}

func (p Payment) capture(m traffic.Message) (Fate, Payment) {
	total := p.Captured + m.Amount
	if m.Amount <= 0 || m.Currency != p.Currency || total > p.Authorized {
		return refused, p
	}
	p.Captured = total
	p.Fees += halfEven(m.Amount*p.rate, 10)
	if total == p.Authorized {
		return applied, p.in("captured")
	}
	return applied, p.in("partly_captured")
}

func (p Payment) giveBack(m traffic.Message) (Fate, Payment) {
	back := p.Refunded + p.ChargedBack + m.Amount
	switch {
	case m.Amount <= 0 || m.Currency != p.Currency || back > p.Authorized:
		return refused, p
	case back > p.Captured && p.State == "partly_captured":
		return notYet, p
	case back > p.Captured:
		return refused, p
	}
	if m.Type == traffic.ChargedBack {
		p.ChargedBack += m.Amount
		return applied, p.in("charged_back")
	}
	p.Refunded += m.Amount
	if p.State == "captured" && p.Refunded == p.Authorized {
		return applied, p.in("refunded")
	}
	return applied, p.in(p.State)
}

// halfEven divides numbers that are not negative, and rounds halves to even.
func halfEven(n, by int64) int64 {
	quotient, rest := n/by, n%by
	if 2*rest > by || 2*rest == by && quotient%2 == 1 {
		quotient++
	}
	return quotient
}

// hundredThousandths returns a decimal with at most 5 places as an integer.
func hundredThousandths(decimal string) int64 {
	whole, places, _ := strings.Cut(decimal, ".")
	n, err := strconv.ParseInt(whole+(places + "00000")[:5], 10, 64)
	if err != nil {
		panic(err) // the traffic has no other
	}
	return n
}
