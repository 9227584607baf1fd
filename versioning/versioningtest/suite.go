package versioningtest

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// Contents gives the suite access to the content of a store. If it also has methods Messages,
// Jobs or Timers like those of [Memory], the suite checks what steps cause. If it has a method
// Define, which opens the store again with other versions of the machines, the suite checks what
// becomes of records that only a newer version can apply.
type Contents interface {
	// Row returns an entity's row. ok is false if there is none.
	Row(versioning.Entity) (row Row, ok bool)

	// History returns an entity's steps, the first one first.
	History(versioning.Entity) []Transition

	// Parked returns the parked records, in the order in which they were parked.
	Parked() []Parked

	// DeadLetters returns the dead letters, the oldest first.
	DeadLetters() []DeadLetter

	// Put creates or replaces an entity's row, without history.
	Put(versioning.Entity, Row)

	// Delete deletes an entity's row. Its history remains.
	Delete(versioning.Entity)
}

// A Harness is an empty store under test.
type Harness struct {
	Store
	Contents
}

// Open returns an empty store for the given machines. One of them needs a queue for jobs, which
// are strings. If a store has tables, each needs
// these columns besides the key, the state and the version:
//
//	note text, place text, debits bigint NOT NULL DEFAULT 0,
//	balance bigint NOT NULL DEFAULT 0, credit bigint, notes text[]
type Open func(t *testing.T, rules []versioning.Rules) Harness

// Run runs the conformance suite against a store. If the store also has methods Do, Deliver
// or FireTimers like those of [Memory], the suite checks them.
func Run(t *testing.T, open Open) {
	t.Run("cases", func(t *testing.T) { runCases(t, open) })
	t.Run("borders", func(t *testing.T) { runBorders(t, open) })
	t.Run("history", func(t *testing.T) { checkHistory(t, open) })
	t.Run("data", func(t *testing.T) { checkData(t, open) })
	t.Run("columns", func(t *testing.T) { checkColumns(t, open) })
	t.Run("dead letters", func(t *testing.T) { checkDeadLetters(t, open) })
	t.Run("decoded later", func(t *testing.T) { checkDecodedLater(t, open) })
	t.Run("parked", func(t *testing.T) { checkParked(t, open) })
	t.Run("released", func(t *testing.T) { checkReleased(t, open) })
	t.Run("split", func(t *testing.T) { checkSplit(t, open) })
	t.Run("details", func(t *testing.T) { checkDetails(t, open) })
	t.Run("outputs", func(t *testing.T) { checkOutputs(t, open) })
	t.Run("timers", func(t *testing.T) { checkTimers(t, open) })
	t.Run("do", func(t *testing.T) { checkDo(t, open) })
	t.Run("deliver", func(t *testing.T) { checkDeliver(t, open) })
	t.Run("marks", func(t *testing.T) { checkMarks(t, open) })
	t.Run("definitions", func(t *testing.T) { checkDefinitions(t, open) })
	t.Run("unknown events", func(t *testing.T) { checkUnknown(t, open) })
	t.Run("no records", func(t *testing.T) { checkNoRecords(t, open) })
}

// runCases runs each case in one batch and in batches of one record, and then
// redelivers everything.
func runCases(t *testing.T, open Open) {
	for _, c := range suiteCases {
		t.Run(c.name+"/one batch", func(t *testing.T) {
			s := newScript(t, open, c)
			s.batch(s.records()...)
			s.settled()
			s.again()
		})
		t.Run(c.name+"/single", func(t *testing.T) {
			s := newScript(t, open, c)
			for _, r := range s.records() {
				s.batch(r)
			}
			s.settled()
			s.again()
		})
	}
}

// runBorders runs the longest case in two batches, split at every possible place. The
// final content must be the same.
func runBorders(t *testing.T, open Open) {
	c := suiteCases[0]
	for _, candidate := range suiteCases {
		if len(candidate.steps) > len(c.steps) {
			c = candidate
		}
	}
	var first contents
	for border := range c.steps {
		s := newScript(t, open, c)
		records := s.records()
		s.batch(records[:border]...)
		s.batch(records[border:]...)
		s.settled()
		all := s.contents()
		if border == 0 {
			first = all
		} else if diff := cmp.Diff(first, all); diff != "" {
			t.Errorf("case %q split at %d ends differently (-without, +with):\n%s", c.name, border, diff)
		}
	}
}

func checkNoRecords(t *testing.T, open Open) {
	s := newScript(t, open, suiteCase{})
	result, err := s.Apply(t.Context(), "", nil)
	if err != nil || len(result.Outcomes) != 0 || len(result.Released) != 0 {
		t.Errorf("Apply(nil) = %v, %v; want nothing", result, err)
	}
}

// The machines of the suite.
const (
	order   = "order"   // by message
	account = "account" // by message, with a cycle and functions
	ledger  = "ledger"  // by version
	parcel  = "parcel"  // by state
	queue   = "queue"   // by message, at most two parked records per entity
)

func suiteRules() []versioning.Rules {
	return []versioning.Rules{
		{Machine: orderMachine},
		{Machine: accountMachine},
		{Machine: ledgerMachine, Identity: versioning.ByVersion},
		{Machine: parcelMachine, Identity: versioning.ByState},
		{Machine: queueMachine, MaxParked: 2},
		{Machine: walletMachine},
		{Machine: lampMachine, CheckJob: anyJob},
	}
}

var orderMachine = statemachine.MustCompile(statemachine.Definition{
	Name: order, Version: 3,
	Transitions: []statemachine.Transition{
		{Event: "placed", To: "pending"},
		{Event: "captured", From: statemachine.In("pending"), To: "paid"},
		{Event: "shipped", From: statemachine.In("paid"), To: "shipped"},
		{Event: "delivered", From: statemachine.In("shipped"), To: "delivered"},
		{Event: "cancelled", From: statemachine.In("pending", "paid"), To: "cancelled"},
	},
	Terminal: statemachine.In("delivered", "cancelled"),
})

var accountMachine = statemachine.MustCompile(statemachine.Definition{
	Name: account, Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "opened", To: "active"},
		{Event: "debited", From: statemachine.In("active"), To: "active", Do: statemachine.Do(debit)},
		{Event: "frozen", From: statemachine.In("active"), To: "locked"},
		{Event: "thawed", From: statemachine.In("locked"), To: "active"},
		{Event: "closed", From: statemachine.In("active"), To: "closed"},
	},
	Terminal: statemachine.In("closed"),
})

var ledgerMachine = statemachine.MustCompile(statemachine.Definition{
	Name: ledger, Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "opened", To: "open"},
		{Event: "posted", From: statemachine.In("open"), To: "open"},
		{Event: "noted", From: statemachine.In("open"), To: "open"},
		{Event: "closed", From: statemachine.In("open"), To: "closed"},
	},
	Terminal: statemachine.In("closed"),
})

var parcelMachine = statemachine.MustCompile(statemachine.Definition{
	Name: parcel, Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "sent", To: "moving"},
		{Event: "arrived", From: statemachine.In("moving"), To: "here"},
		{Event: "fetched", From: statemachine.In("here"), To: "gone"},
	},
	Terminal: statemachine.In("gone"),
})

var queueMachine = statemachine.MustCompile(statemachine.Definition{
	Name: queue, Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "made", To: "open"},
		{Event: "added", From: statemachine.In("open"), To: "open"},
		{Event: "ended", From: statemachine.In("open"), To: "ended"},
	},
	Terminal: statemachine.In("ended"),
})

// An accountRow is the row of an account: it counts the debits.
type accountRow struct {
	Debits int64 `db:"debits"`
}

// debited is the data of the event debited: what the action should do.
type debited struct{ Say string }

var errRefused = errors.New("not enough money")

func debit(f *statemachine.Firing, row *accountRow, d debited) error {
	row.Debits++
	switch d.Say {
	case "refuse":
		return errRefused
	case "panic":
		panic("the action has a bug")
	case "once": // refuse all steps except the first
		if f.Version > 2 {
			return errRefused
		}
	}
	return nil
}

// anyJob accepts every job.
func anyJob(any) error { return nil }
