package main

import "github.com/pawl-go/pawl/statemachine"

// order is the machine whose versions docs/changing.md deploys.
var order = statemachine.MustCompile(statemachine.Definition{
	Name: "order", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "placed", To: "pending"},
		{Event: "paid", From: statemachine.In("pending"), To: "paid"},
		{Event: "shipped", From: statemachine.In("paid"), To: "shipped"},
		{Event: "cancelled", From: statemachine.In("pending"), To: "cancelled"},
	},
	Terminal: statemachine.In("shipped", "cancelled"),
})
