package contend

import (
	"fmt"
	"strings"

	"github.com/pawl-go/pawl/bench/internal/traffic"
	"github.com/pawl-go/pawl/statemachine"
)

// A row is what the hand-written contenders read and write of an entity.
type row struct {
	state   statemachine.State
	version int64
	sums    traffic.Sums
}

// A decider returns the row after a message. legal is false if the entity can't take the
// message.
type decider func(from row, message *traffic.Message) (to row, legal bool)

// decide returns how the hand-written contenders decide: they ask the machine for the next
// state, or compute it and the columns in Go.
func decide(machine *statemachine.Machine) decider {
	switch machine.Name() {
	case traffic.Payment.Name():
		return pay
	case traffic.Wallet.Name():
		return deposit
	}
	return func(from row, message *traffic.Message) (to row, legal bool) {
		state, legal := machine.Fire(from.state, message.Event)
		return row{state: state, version: from.version + 1}, legal
	}
}

func pay(r row, message *traffic.Message) (to row, legal bool) {
	amount, captured, refunded := &r.sums[0], &r.sums[1], &r.sums[2]
	switch {
	case message.Event == traffic.PaymentAuthorized && r.state == "":
		r.state = "authorized"
		*amount = message.Amount
	case message.Event == traffic.PaymentCaptured && (r.state == "authorized" || r.state == "part_captured"):
		*captured += message.Amount
		if *captured > *amount {
			return r, false
		}
		r.state = "part_captured"
		if *captured == *amount {
			r.state = "captured"
		}
	case message.Event == traffic.PaymentRefunded && (r.state == "part_captured" || r.state == "captured"):
		r.state = "refunded"
		*refunded += message.Amount
		if *refunded > *captured {
			return r, false
		}
	default:
		return r, false
	}
	r.version++
	return r, true
}

func deposit(r row, message *traffic.Message) (to row, legal bool) {
	isNew := message.Event == traffic.WalletOpened && r.state == ""
	if !isNew && (message.Event != traffic.WalletChanged || r.state != "active") {
		return r, false
	}
	r.state = "active"
	r.version++
	r.sums[0] += message.Amount
	return r, true
}

// statements are the statements of the hand-written contenders.
type statements struct {
	columns               int // of the sums
	read, readAll         string
	update, insert, noted string
}

func statementsFor(machine string) statements {
	columns := traffic.Columns(machine)
	s := statements{
		columns: len(columns),
		read:    `SELECT state, version FROM orders WHERE id = $1`,
		readAll: `SELECT id, state, version FROM orders WHERE id = ANY ($1) FOR UPDATE`,
		update:  `UPDATE orders SET state = $4, version = $3 + 1 WHERE id = $1 AND state = $2 AND version = $3`,
		insert:  `INSERT INTO orders (id, state, version, customer, total) VALUES ($1, $2, 1, $3, $4) ON CONFLICT (id) DO NOTHING`,
		noted: `INSERT INTO order_history (order_id, version, event, from_state, to_state, message_id) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (order_id, message_id) DO NOTHING`,
	}
	if len(columns) == 0 {
		return s
	}
	var set, params strings.Builder
	for i, column := range columns {
		fmt.Fprintf(&set, ", %s = $%d", column, 5+i)
		fmt.Fprintf(&params, ", $%d", 3+i)
	}
	names := ", " + strings.Join(columns, ", ")
	s.read = `SELECT state, version` + names + ` FROM orders WHERE id = $1 FOR UPDATE`
	s.readAll = `SELECT id, state, version` + names + ` FROM orders WHERE id = ANY ($1) FOR UPDATE`
	s.update = `UPDATE orders SET state = $4, version = $3 + 1` + set.String() + ` WHERE id = $1 AND state = $2 AND version = $3`
	s.insert = `INSERT INTO orders (id, state, version` + names + `) VALUES ($1, $2, 1` + params.String() + `) ON CONFLICT (id) DO NOTHING`
	return s
}

// destinations returns where to scan the columns that the reading statements have in
// common.
func (s *statements) destinations(r *row) []any {
	into := []any{&r.state, &r.version}
	for i := range s.columns {
		into = append(into, &r.sums[i])
	}
	return into
}

// write returns the statement that writes a row, with its arguments. It affects one row,
// unless another writer has changed or created the row.
func (s *statements) write(message *traffic.Message, from, to *row) (query string, args []any) {
	query, args = s.update, append(make([]any, 0, 4+s.columns), message.Key, from.state, from.version, to.state)
	if from.version == 0 {
		query, args = s.insert, append(args[:0], message.Key, to.state)
		if s.columns == 0 {
			args = append(args, message.Customer, message.Total)
		}
	}
	for i := range s.columns {
		args = append(args, to.sums[i])
	}
	return query, args
}

// note returns the arguments of the statement that inserts a row of history.
func (s *statements) note(id string, message *traffic.Message, from, to *row) []any {
	return []any{message.Key, to.version, message.Event, from.state, to.state, id}
}
