package main

import (
	"strconv"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

const (
	active   statemachine.State = "active"
	frozen   statemachine.State = "frozen"
	closed   statemachine.State = "closed"
	transfer statemachine.State = "done"

	opened    statemachine.Event = "opened"
	deposited statemachine.Event = "deposited"
	withdrawn statemachine.Event = "withdrawn"
	froze     statemachine.Event = "frozen"
	thawed    statemachine.Event = "thawed"
	shut      statemachine.Event = "closed"
	made      statemachine.Event = "made"
)

// account is a machine whose events repeat, so that an event that is applied
// twice shows.
var account = statemachine.MustCompile(statemachine.Definition{
	Name: "account", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: opened, To: active},
		{Event: deposited, From: statemachine.In(active), To: active},
		{Event: withdrawn, From: statemachine.In(active), To: active},
		{Event: froze, From: statemachine.In(active), To: frozen},
		{Event: thawed, From: statemachine.In(frozen), To: active},
		{Event: shut, From: statemachine.In(active), To: closed},
	},
	Terminal: statemachine.In(closed),
})

// transfers is the machine of transfers, which move two accounts at once: one
// record, three entities, all or nothing.
var transfers = statemachine.MustCompile(statemachine.Definition{
	Name: "transfer", Version: 1,
	Transitions: []statemachine.Transition{{Event: made, To: transfer}},
	Terminal:    statemachine.In(transfer),
})

// The trigger rejects negative amounts, with an SQLSTATE that PostgreSQL does
// not define, and records each step it sees.
const schema = `
CREATE SCHEMA torture;
CREATE TABLE torture.accounts (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, amount bigint);
CREATE TABLE torture.transfers (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, amount bigint);
CREATE TABLE torture.wallets (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL,
	balance bigint NOT NULL, seen bigint NOT NULL, visits bigint NOT NULL DEFAULT 0,
	trail bigint NOT NULL);
CREATE TABLE torture.tickets (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, trail bigint NOT NULL);
CREATE TABLE torture.bills (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, trail bigint NOT NULL, receipt text NOT NULL);
CREATE TABLE torture.foreign_writes (id text NOT NULL);
CREATE TABLE torture.seen (machine text NOT NULL, id text NOT NULL, state text NOT NULL, version bigint NOT NULL);
CREATE FUNCTION torture.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	IF new.amount < 0 THEN
		RAISE 'a negative amount' USING ERRCODE = 'TRT01';
	END IF;
	INSERT INTO torture.seen VALUES (tg_argv[0], new.id, new.state, new.version);
	RETURN NULL; END $$;
CREATE TRIGGER see AFTER INSERT OR UPDATE ON torture.accounts FOR EACH ROW EXECUTE FUNCTION torture.see('account');
CREATE TRIGGER see AFTER INSERT OR UPDATE ON torture.transfers FOR EACH ROW EXECUTE FUNCTION torture.see('transfer');`

// tablesIn returns the tables of a schema.
func tablesIn(schema string) []postgres.Table {
	// Enough for all records that wait while other partitions lag.
	const maxParked = 1_000_000
	return []postgres.Table{
		{Machine: account, Name: schema + ".accounts", MaxParked: maxParked},
		{Machine: transfers, Name: schema + ".transfers", MaxParked: maxParked},
		{Machine: wallets, Name: schema + ".wallets", MaxParked: maxParked},
		{Machine: tickets, Name: schema + ".tickets", MaxParked: maxParked},
		{Machine: bills, Name: schema + ".bills", MaxParked: maxParked},
	}
}

// A message is the value of a record. Its ID is in the header ce_id.
type message struct {
	Event    statemachine.Event `json:"event"`
	Account  string             `json:"account"`
	To       string             `json:"to,omitempty"`       // only for transfers and wallets
	Transfer string             `json:"transfer,omitempty"` // only for transfers
	Expected string             `json:"expected,omitempty"` // the account's version, if the message has one
	Amount   int64              `json:"amount"`

	// Only for transfers between wallets.
	Waits       bool `json:"waits,omitempty"`
	CreditFirst bool `json:"credit_first,omitempty"`

	IsFee bool `json:"fee,omitempty"` // only for bills
}

func changes(m message, _ *versioning.Record) ([]versioning.Change, error) {
	if m.Transfer != "" {
		return []versioning.Change{
			{Machine: transfers.Name(), Key: m.Transfer, Event: made, Set: versioning.Columns{"amount": m.Amount}},
			{Machine: account.Name(), Key: m.Account, Event: withdrawn},
			{Machine: account.Name(), Key: m.To, Event: deposited},
		}, nil
	}
	if m.Event == founded || m.Event == moved {
		return walletChanges(m), nil
	}
	if m.Event == billed {
		return billChanges(m), nil
	}
	if isTicket(m.Event) {
		return ticketChanges(m), nil
	}
	change := versioning.Change{Machine: account.Name(), Key: m.Account, Event: m.Event, Set: versioning.Columns{"amount": m.Amount}}
	if m.Expected != "" {
		version, err := strconv.ParseInt(m.Expected, 10, 64)
		if err != nil {
			return nil, err //nolint:wrapcheck // it already says what could not be parsed
		}
		change.Expected = versioning.At(version)
	}
	return []versioning.Change{change}, nil
}

var decode = consumer.JSON(changes)
