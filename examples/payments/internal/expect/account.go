package expect

import "github.com/pawl-go/pawl/examples/payments/internal/traffic"

// after returns what a message does to the account as one of its two ends: of a transfer,
// minus says whether the account pays.
func (a Account) after(m traffic.Message, minus bool) (Fate, Account) {
	fate := a.legal(m)
	switch {
	case fate != applied:
		return fate, a
	case m.Type == traffic.Opened && m.Amount < 0:
		return refused, a
	case m.Type == traffic.Opened:
		return applied, Account{State: "open", Version: 1, Currency: m.Currency, Balance: m.Amount}
	case m.Type == traffic.Closed && a.Balance != 0:
		return Fate{DeadLettered, "no_branch"}, a
	case m.Type == traffic.Closed:
		a.State = "closed"
	case m.Amount <= 0 || m.Currency != a.Currency:
		return refused, a
	case minus && m.Amount > a.Balance:
		return refused, a
	case minus:
		a.Balance -= m.Amount
	default:
		a.Balance += m.Amount
	}
	a.Version++
	return applied, a
}

// legal returns applied if the message is legal in the account's state.
func (a Account) legal(m traffic.Message) Fate {
	switch {
	case m.Type == traffic.Opened && a.Version == 0, m.Type != traffic.Opened && a.State == "open":
		return applied
	case a.Version == 0:
		return Fate{Parked, "no_entity"}
	}
	return illegal
}
