package model_test

import (
	"errors"
	"fmt"

	"github.com/pawl-go/pawl/statemachine"
)

// A computedRow is the row of a machine that computes. Its columns are those that kinds
// of tables constrain.
type computedRow struct {
	X *int32  `db:"x"`
	Y *int32  `db:"y"`
	Z *string `db:"z"`
}

// A request is the data of all events of such a machine: what a message would set. The
// columns that it does not set are nil; the one that it sets to NULL is null.
type request struct {
	X, Y *int32
	Z    *string
	Null string
	Path []string
}

// computing is the definition of machines that compute: like thing, but what an event
// sets depends on the row, and "set" has branches.
func computing(table string) *statemachine.Machine {
	do := statemachine.Do(compute)
	d := statemachine.Definition{
		Name: table, Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "make", To: "new", Do: do},
			{Event: "set", From: statemachine.In("new"), To: "open", When: statemachine.When("x and y are equal", areEqual), Do: do},
			{Event: "set", From: statemachine.In("new"), To: "new", Do: do},
			{Event: "set", From: statemachine.In("open"), To: "open", When: statemachine.When("z is not d", hasNoD), Do: do},
			{Event: "open", From: statemachine.In("new"), To: "open"},
			{Event: "back", From: statemachine.In("open"), To: "new", Do: do},
			{Event: "close", From: statemachine.In("open"), To: "closed", Do: do},
		},
		Terminal: statemachine.In("closed"),
	}
	return statemachine.MustCompile(d)
}

func areEqual(row computedRow, _ request) bool {
	if row.X != nil && row.Y != nil && *row.X == *row.Y {
		*row.X = -100 // a condition must not do that, and it must have no effect
		return true
	}
	return false
}

func hasNoD(row computedRow, e request) bool { return row.Z == nil || *row.Z != "d" }

// compute adds what the message says to what is there, changes everything that is reached
// through pointers and slices, and may change its mind after that.
func compute(f *statemachine.Firing, row *computedRow, e request) error {
	before := row.Y
	row.X, row.Y = plus(row.X, e.X), plus(row.Y, e.Y)
	if e.Z != nil {
		text := *e.Z
		if row.Z != nil && len(*row.Z) < 5 {
			text = *row.Z + text
		}
		row.Z = &text
	}
	switch e.Null {
	case "x":
		row.X = nil
	case "y":
		row.Y = nil
	case "z":
		row.Z = nil
	}
	for i := range e.Path {
		e.Path[i] = "changed by the action"
	}
	switch {
	case row.X != nil && *row.X > 12:
		return fmt.Errorf("x would be %d at version %d", *row.X, f.Version)
	case row.X != nil && *row.X == 7 && (before == nil || *before < 3):
		return statemachine.NotYet(errors.New("y is too small"))
	case row.X != nil && *row.X == 11:
		panic("eleven")
	case row.Z != nil && len(e.Path) > 0 && e.Path[0] != "changed by the action":
		panic("the data was not changed")
	}
	return nil
}

// plus adds in place, so that a row that shared its pointer would be seen to change.
func plus(to, n *int32) *int32 {
	switch {
	case n == nil:
		return to
	case to == nil:
		sum := *n
		return &sum
	}
	*to += *n
	return to
}

// data returns what a change sets as the data of a machine that computes.
func (c change) data() request {
	e := request{Path: []string{c.key}}
	number := func(column string) *int32 {
		if n, ok := c.set[column].(int); ok {
			return new(int32(n))
		}
		return nil
	}
	e.X, e.Y = number("x"), number("y")
	if z, ok := c.set["z"].(string); ok {
		e.Z = &z
	}
	for _, column := range []string{"x", "y", "z"} {
		if value, ok := c.set[column]; ok && value == nil {
			e.Null = column
		}
	}
	return e
}
