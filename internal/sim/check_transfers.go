package sim

import (
	"fmt"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

// checkAccounts checks the rows of accounts, and that no money was made or lost.
func (w *world) checkAccounts(l *ledger) {
	var paidIn, total int64
	for entity, row := range w.store.Rows() {
		if entity.Machine != accountDefinition.Name {
			continue
		}
		balances := l.balances(entity.Key)
		for version, balance := range balances {
			if balance < 0 {
				w.fail("%v has %d at version %d", entity, balance, version)
			}
		}
		balance, _ := row.Columns["balance"].(int64)
		ends := balances[len(balances)-1]
		if balance != ends || (row.State == empty) != (ends == 0) {
			w.fail("%v is %q and has %d, but its history ends with %d", entity, row.State, balance, ends)
		}
		for _, column := range []string{"seen", "visits"} {
			if n, _ := row.Columns[column].(int64); n != w.foreign.writes[entity.Key] {
				w.fail("%v has %s = %d, but others have written it %d times", entity, column, n, w.foreign.writes[entity.Key])
			}
		}
		paidIn += balances[1]
		total += balance
	}
	if total != paidIn {
		w.fail("the accounts were opened with %d, but have %d", paidIn, total)
	}
	w.checkTransfers(l)
	w.checkRefusals(l)
}

// balances returns an account's balance at each version, as its history tells.
func (l *ledger) balances(key string) []int64 {
	balances := []int64{0}
	for i, s := range l.history[key] {
		amount := l.script.messages[s.Origin.Partition][s.Origin.Offset].Amount
		if s.Event == debited {
			amount = -amount
		}
		balances = append(balances, balances[i]+amount)
	}
	return balances
}

// checkTransfers checks that each transfer that is in the history is in both of its
// accounts, once.
func (w *world) checkTransfers(l *ledger) {
	type side struct {
		place

		key   string
		event statemachine.Event
	}
	sides := make(map[string]map[side]int) // by message ID
	for key, steps := range l.history {
		for _, s := range steps {
			if s.Event != debited && s.Event != credited {
				continue
			}
			if sides[s.MessageID] == nil {
				sides[s.MessageID] = make(map[side]int)
			}
			sides[s.MessageID][side{placeOf(s.Origin), key, s.Event}]++
		}
	}
	for id, made := range sides {
		for s := range made {
			want := make(map[side]int)
			for _, part := range w.script.messages[s.partition][s.offset].Parts {
				want[side{s.place, part.Key, part.Event}]++
			}
			w.expect("steps of "+id, made, want)
		}
		w.cover("transfer accepted")
	}
}

// checkRefusals checks that the transfers that were refused, or wait, had reason to.
func (w *world) checkRefusals(l *ledger) {
	for _, d := range w.store.DeadLetters() {
		if d.Outcome.Reason == versioning.ReasonRefused {
			w.checkRefusal(l, d)
		}
	}
	for _, p := range w.store.Parked() {
		if isTimer(p.Origin) {
			continue
		}
		m := &w.script.messages[p.Origin.Partition][p.Origin.Offset]
		if !m.isMoney || p.Reason != versioning.ReasonNotYet {
			continue
		}
		w.cover("transfer waits")
		row, _ := w.store.Row(p.Entity)
		if balance, _ := row.Columns["balance"].(int64); !m.Waits || balance >= m.Amount {
			w.fail("record %v (%+v) waits for %v, which has %d", placeOf(p.Origin), m.movement, p.Entity, balance)
		}
	}
}

func (w *world) checkRefusal(l *ledger, d versioningtest.DeadLetter) {
	w.cover("transfer refused")
	m := &w.script.messages[d.Origin.Partition][d.Origin.Offset]
	balances := l.balances(d.Outcome.Entity.Key)
	var version, has, amount int64
	_, err := fmt.Sscanf(d.Outcome.Detail, tooLittle, &version, &has, &amount)
	if err != nil || m.Waits || amount != m.Amount || version >= int64(len(balances)) || balances[version] != has || has >= amount {
		w.fail("record %v (%+v) was refused by %v: %q, but its balances were %v", placeOf(d.Origin), m.movement, d.Outcome.Entity, d.Outcome.Detail, balances)
	}
}
