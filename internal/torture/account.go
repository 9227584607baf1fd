package main

import (
	"strconv"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
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

// account is a machine whose events come again and again: applying one twice
// shows.
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

// transfers is the machine of what moves two accounts at once: one record, three
// entities, all or nothing.
var transfers = statemachine.MustCompile(statemachine.Definition{
	Name: "transfer", Version: 1,
	Transitions: []statemachine.Transition{{Event: made, To: transfer}},
	Terminal:    statemachine.In(transfer),
})

// The trigger refuses negative amounts, with an SQLSTATE that PostgreSQL does not
// know, and notes each step that it sees.
const schema = `
CREATE SCHEMA torture;
CREATE TABLE torture.accounts (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, amount bigint);
CREATE TABLE torture.transfers (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, amount bigint);
CREATE TABLE torture.seen (machine text NOT NULL, id text NOT NULL, state text NOT NULL, version bigint NOT NULL);
CREATE FUNCTION torture.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	IF new.amount < 0 THEN
		RAISE 'a negative amount' USING ERRCODE = 'TRT01';
	END IF;
	INSERT INTO torture.seen VALUES (tg_argv[0], new.id, new.state, new.version);
	RETURN NULL; END $$;
CREATE TRIGGER see AFTER INSERT OR UPDATE ON torture.accounts FOR EACH ROW EXECUTE FUNCTION torture.see('account');
CREATE TRIGGER see AFTER INSERT OR UPDATE ON torture.transfers FOR EACH ROW EXECUTE FUNCTION torture.see('transfer');`

// tablesIn are the tables of a schema.
func tablesIn(schema string) []versioning.Table {
	// As many as ever wait for an account while the others' partitions lag.
	const maxParked = 1_000_000
	return []versioning.Table{
		{Machine: account, Name: schema + ".accounts", MaxParked: maxParked},
		{Machine: transfers, Name: schema + ".transfers", MaxParked: maxParked},
	}
}

// A message is what a record says. Its ID is in the header ce_id.
type message struct {
	Event    statemachine.Event `json:"event"`
	Account  string             `json:"account"`
	To       string             `json:"to,omitempty"`       // of a transfer
	Transfer string             `json:"transfer,omitempty"` // of a transfer
	Expected string             `json:"expected,omitempty"` // the account's version, where the message knows it
	Amount   int64              `json:"amount"`
}

func changes(m message, _ *versioning.Record) ([]versioning.Change, error) {
	if m.Transfer != "" {
		return []versioning.Change{
			{Machine: transfers.Name(), Key: m.Transfer, Event: made, Set: versioning.Columns{"amount": m.Amount}},
			{Machine: account.Name(), Key: m.Account, Event: withdrawn},
			{Machine: account.Name(), Key: m.To, Event: deposited},
		}, nil
	}
	change := versioning.Change{Machine: account.Name(), Key: m.Account, Event: m.Event, Set: versioning.Columns{"amount": m.Amount}}
	if m.Expected != "" {
		version, err := strconv.ParseInt(m.Expected, 10, 64)
		if err != nil {
			return nil, err //nolint:wrapcheck // it says what could not be parsed
		}
		change.Expected = versioning.At(version)
	}
	return []versioning.Change{change}, nil
}

var decode = consumer.JSON(changes)
