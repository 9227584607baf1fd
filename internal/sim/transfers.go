package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/pawl-go/pawl/internal/model"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// Half of the histories also have transfers between accounts: records that change the
// rows of two accounts, or none. Other writers write the same rows; see [foreign].

const (
	opened   statemachine.Event = "opened"
	debited  statemachine.Event = "debited"
	credited statemachine.Event = "credited"

	empty  statemachine.State = "empty" // the balance is 0
	funded statemachine.State = "funded"
)

// accountRow is the row of an account.
type accountRow struct {
	Balance int64 `db:"balance"`
	Seen    int64 `db:"seen"` // only other writers change it
}

// A movement is the data of a message about accounts.
type movement struct {
	Amount int64
	Waits  bool // until the account has enough; otherwise the transfer is refused
}

var accountDefinition = statemachine.Definition{
	Name: "account", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: opened, To: empty, When: statemachine.When("with nothing", func(_ accountRow, m movement) bool { return m.Amount == 0 })},
		{Event: opened, To: funded, Do: statemachine.Do(credit)},
		{
			Event: debited, From: statemachine.In(empty, funded), To: empty,
			When: statemachine.When("of all it has", func(row accountRow, m movement) bool { return row.Balance == m.Amount }),
			Do:   statemachine.Do(debit),
		},
		{Event: debited, From: statemachine.In(empty, funded), To: funded, Do: statemachine.Do(debit)},
		{Event: credited, From: statemachine.In(empty, funded), To: funded, Do: statemachine.Do(credit)},
		{Event: "closed", From: statemachine.In(empty), To: "closed"}, // no message says so
	},
	Terminal: statemachine.In("closed"),
}

var account = statemachine.MustCompile(accountDefinition)

func credit(_ *statemachine.Firing, row *accountRow, m movement) error {
	row.Balance += m.Amount
	return nil
}

// tooLittle is the error of a refused transfer. The checker compares it with the history.
const tooLittle = "at version %d it has %d, less than %d"

// debit changes the row before it decides: a refusal must undo that.
func debit(f *statemachine.Firing, row *accountRow, m movement) error {
	row.Balance -= m.Amount
	if row.Balance >= 0 {
		return nil
	}
	err := fmt.Errorf(tooLittle, f.Version-1, row.Balance+m.Amount, m.Amount)
	if m.Waits {
		return statemachine.NotYet(err)
	}
	return err
}

// machineOf returns the name of the machine of a message.
func (s *script) machineOf(m *message) string {
	switch {
	case m.isMoney:
		return accountDefinition.Name
	case m.isAlarm:
		return alarmDefinition.Name
	}
	return s.definition.Name
}

// identityOf returns how duplicates of a message are detected.
func (s *script) identityOf(m *message) versioning.Identity {
	if m.isMoney || m.isAlarm {
		return versioning.ByMessage
	}
	return s.identity
}

func accountKey(n int) string { return fmt.Sprint("account-", n) }

// drawTransfers adds the messages of accounts to the partitions. Accounts are shared by
// all partitions.
func (s *script) drawTransfers(r *rand.Rand) {
	s.accounts = 2 + r.IntN(3)
	for i := range s.accounts {
		m := message{isMoney: true, movement: movement{Amount: int64(r.IntN(20))}}
		m.ID, m.Parts = fmt.Sprint("opening-", i), []model.Part{{Key: accountKey(i), Event: opened, Expected: -1}}
		if n := r.IntN(8); n > 0 { // 0: it is never opened
			s.insert(r, m, n > 2)
		}
	}
	for i := range 8 + r.IntN(16) {
		m := message{isMoney: true, movement: movement{Amount: 1 + int64(r.IntN(15)), Waits: r.IntN(4) == 0}}
		m.ID = fmt.Sprint("transfer-", i)
		m.Parts = []model.Part{
			{Key: accountKey(r.IntN(s.accounts)), Event: debited, Expected: -1},
			{Key: accountKey(r.IntN(s.accounts)), Event: credited, Expected: -1},
		}
		if r.IntN(2) == 0 {
			slices.Reverse(m.Parts) // a refusal must undo the credit
		}
		s.insert(r, m, false)
		if r.IntN(4) == 0 {
			s.insert(r, m, false) // again
		}
		if r.IntN(10) == 0 {
			m.Amount++
			s.insert(r, m, false) // another message with the same ID
		}
	}
}

// insert adds a message to some partition: as its first message if early, otherwise
// anywhere.
func (s *script) insert(r *rand.Rand, m message, early bool) {
	p, at := r.IntN(len(s.messages)), 0
	if !early {
		at = r.IntN(1 + len(s.messages[p]))
	}
	if at > 0 {
		m.at = s.messages[p][at-1].at
	}
	if r.IntN(40) == 0 {
		m.garbage = undecodable + garbage(r.IntN(2))
	}
	s.messages[p] = slices.Insert(s.messages[p], at, m)
}
