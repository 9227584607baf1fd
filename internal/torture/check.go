package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/statemachine"
)

// A step is a row of the history.
type step struct {
	Machine, Entity string
	Version         int64
	Event           statemachine.Event
	FromState       statemachine.State
	ToState         statemachine.State
	MessageID       string
	Partition       int32
	Offset          int64
	At              time.Time // when its transaction began
}

// A row is an entity's row.
type row struct {
	Machine, Entity string
	State           statemachine.State
	Version         int64
}

// A sight is a step that the tables' trigger saw.
type sight struct {
	Machine, Entity string
	State           statemachine.State
	Version         int64
}

// evidence is the final content of the database.
type evidence struct {
	steps  []step // ordered by machine, entity and version
	seen   []sight
	rows   []row
	parked []place
	dead   []place

	wallets walletEvidence
	bills   billEvidence
	sent    []sentMessage // in the order of each partition
	losses  []loss

	isTransactional bool // the messages were published in transactions
}

func (t tenant) gather(ctx context.Context, url string) (e evidence, err error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return e, fmt.Errorf("read the database: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }() // everything was read already
	if e.steps, err = collect(ctx, conn, pgx.RowToStructByPos[step], t.sql(`
		SELECT machine, entity, version, event, from_state, to_state, message_id, partition, "offset", at
		FROM pawl.transitions ORDER BY machine, entity, version`)); err != nil {
		return e, err
	}
	if e.rows, err = collect(ctx, conn, pgx.RowToStructByPos[row], t.sql(`
		SELECT 'account', id, state, version FROM torture.accounts
		UNION ALL SELECT 'transfer', id, state, version FROM torture.transfers
		UNION ALL SELECT 'wallet', id, state, version FROM torture.wallets
		UNION ALL SELECT 'ticket', id, state, version FROM torture.tickets
		UNION ALL SELECT 'bill', id, state, version FROM torture.bills`)); err != nil {
		return e, err
	}
	if e.seen, err = collect(ctx, conn, pgx.RowToStructByPos[sight], t.sql(`SELECT machine, id, state, version FROM torture.seen`)); err != nil {
		return e, err
	}
	if e.parked, err = collect(ctx, conn, toPlace, t.sql(`SELECT partition, "offset" FROM pawl.parked`)); err != nil {
		return e, err
	}
	if e.dead, err = collect(ctx, conn, toPlace, t.sql(`SELECT partition, "offset" FROM pawl.dead_letters`)); err != nil {
		return e, err
	}
	if e.wallets, err = t.gatherWallets(ctx, conn); err != nil {
		return e, err
	}
	e.bills, err = t.gatherBills(ctx, conn)
	return e, err
}

func toPlace(r pgx.CollectableRow) (p place, err error) {
	return p, r.Scan(&p.partition, &p.offset)
}

func collect[T any](ctx context.Context, conn *pgx.Conn, to pgx.RowToFunc[T], sql string) ([]T, error) {
	rows, _ := conn.Query(ctx, sql) // CollectRows returns the error
	all, err := pgx.CollectRows(rows, to)
	if err != nil {
		return nil, fmt.Errorf("read the database: %w", err)
	}
	return all, nil
}

// A judgement counts violations and describes some of them.
type judgement struct {
	lost, twice, wrong int
	tally              tally
	outputs            outputs
	once               once
	charges            charges
	messages           []string
}

func (j *judgement) report(count *int, format string, args ...any) {
	*count++
	if len(j.messages) < 20 {
		j.messages = append(j.messages, fmt.Sprintf(format, args...))
	}
}

// judge compares the producer's ledger with the database.
func judge(l *ledger, e evidence) *judgement {
	j := &judgement{}
	j.paths(e)
	j.sights(e)
	j.ends(l, e)
	j.fates(l, e)
	j.wallets(l, e)
	j.tickets(e)
	j.announcements(e)
	j.bills(l, e)
	if e.isTransactional {
		j.exactlyOnce(e)
	}
	return j
}

// paths checks that each entity's history is a path of its machine, with
// versions 1 to n, that no message occurs twice, and that the row is where the
// path ends.
func (j *judgement) paths(e evidence) {
	rows := make(map[[2]string]row, len(e.rows))
	for _, r := range e.rows {
		rows[[2]string{r.Machine, r.Entity}] = r
	}
	entities := 0
	for i := 0; i < len(e.steps); entities++ {
		first := e.steps[i]
		state, version, ids := statemachine.None, int64(0), make(map[string]bool)
		for ; i < len(e.steps) && e.steps[i].Machine == first.Machine && e.steps[i].Entity == first.Entity; i++ {
			s := e.steps[i]
			version++
			if s.Version != version || s.FromState != state || !legal(s) {
				j.report(&j.wrong, "step %+v is not legal in state %q at version %d", s, state, version-1)
			}
			if ids[s.MessageID] {
				j.report(&j.twice, "message %s moved %s %s twice, the second time with step %+v", s.MessageID, s.Machine, s.Entity, s)
			}
			ids[s.MessageID] = true
			state = s.ToState
		}
		if r := rows[[2]string{first.Machine, first.Entity}]; r.State != state || r.Version != version {
			j.report(&j.wrong, "row %+v, but the history of %s %s ends in %q at %d", r, first.Machine, first.Entity, state, version)
		}
	}
	if entities != len(rows) {
		j.report(&j.wrong, "%d rows, but history for %d entities", len(rows), entities)
	}
}

// sights checks that the tables' trigger saw exactly the steps in the history. Only accounts and
// transfers have a trigger.
func (j *judgement) sights(e evidence) {
	seen := make(map[sight]int, len(e.seen))
	for _, s := range e.seen {
		seen[s]++
	}
	for i := range e.steps {
		if m := e.steps[i].Machine; m != account.Name() && m != transfers.Name() {
			continue
		}
		s := sight{e.steps[i].Machine, e.steps[i].Entity, e.steps[i].ToState, e.steps[i].Version}
		if seen[s]--; seen[s] < 0 {
			j.report(&j.wrong, "the trigger did not see step %+v", e.steps[i])
		}
	}
	for s, n := range seen {
		if n > 0 {
			j.report(&j.wrong, "the trigger saw %+v, but the history has no such step", s)
		}
	}
}

func legal(s step) bool {
	machine := account
	switch s.Machine {
	case transfers.Name():
		machine = transfers
	case tickets.Name():
		machine = tickets
	case bills.Name():
		machine = bills
	case wallets.Name():
		return slices.ContainsFunc(wallets.Branches(s.FromState, s.Event), func(b statemachine.Branch) bool { return b.To == s.ToState })
	}
	to, ok := machine.Fire(s.FromState, s.Event)
	return ok && to == s.ToState
}

// ends checks that each account ends as the ledger says.
func (j *judgement) ends(l *ledger, e evidence) {
	accounts, made := make(map[string]row), 0
	for _, r := range e.rows {
		switch r.Machine {
		case transfers.Name():
			made++
		case account.Name():
			accounts[r.Entity] = r
		}
	}
	for key, want := range l.accounts {
		switch got := accounts[key]; {
		case got.Version < want.steps:
			j.report(&j.lost, "account %s is at version %d, want %d", key, got.Version, want.steps)
		case got.Version > want.steps:
			j.report(&j.twice, "account %s is at version %d, want %d", key, got.Version, want.steps)
		case got.State != want.state:
			j.report(&j.wrong, "account %s is %q, want %q", key, got.State, want.state)
		}
	}
	if len(accounts) > len(l.accounts) {
		j.report(&j.wrong, "%d accounts, want %d", len(accounts), len(l.accounts))
	}
	if made != l.transfers {
		j.report(&j.wrong, "%d transfers, want %d", made, l.transfers)
	}
}

// gaps returns the gaps in the acknowledged offsets. A gap would be an error of
// the broker or the producer.
func (l *ledger) gaps() (gaps []string) {
	offsets := make(map[int32][]int64)
	for i := range l.entries {
		offsets[l.entries[i].at.partition] = append(offsets[l.entries[i].at.partition], l.entries[i].at.offset)
	}
	for partition, all := range offsets {
		slices.Sort(all)
		if n := int64(len(all)); all[0] != 0 || all[n-1] != n-1 {
			gaps = append(gaps, fmt.Sprintf("partition %d: %d records were acknowledged, with offsets from %d to %d", partition, n, all[0], all[n-1]))
		}
	}
	return gaps
}
