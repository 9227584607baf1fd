package main

import (
	"context"
	"errors"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// This file is a second worker: the carrier's. It consumes what the first one announces. It
// has a machine and a table of its own, and could have a database of its own.

// The states of a shipment, and the events that move it.
const (
	OnItsWay statemachine.State = "on_its_way"
	Arrived  statemachine.State = "arrived"

	ShipmentAnnounced statemachine.Event = "shipment.announced"
	ShipmentArrived   statemachine.Event = "shipment.arrived"
)

// Shipment is the state machine of a shipment. Its key is that of the order.
var Shipment = statemachine.MustCompile(statemachine.Definition{
	Name: "shipment", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: ShipmentAnnounced, To: OnItsWay},
		{Event: ShipmentArrived, From: statemachine.In(OnItsWay), To: Arrived},
	},
	Terminal: statemachine.In(Arrived),
})

// An announcement is a message on the topic of the shipments. The relay gives each an ID, in
// the headers where every consumer of Pawl looks for it. So an announcement that is published
// twice is a duplicate here.
type announcement struct {
	Order    string             `json:"order"`
	Event    statemachine.Event `json:"event"`
	Customer string             `json:"customer,omitempty"`
	Tracking string             `json:"tracking,omitempty"`
}

var decodeAnnouncement = consumer.JSON(func(a announcement, _ *versioning.Record) ([]versioning.Change, error) {
	if a.Order == "" {
		return nil, errors.New(`announcement has no "order"`)
	}
	change := versioning.Change{Key: a.Order, Event: a.Event}
	if a.Event == ShipmentAnnounced {
		change.Set = versioning.Columns{"customer": a.Customer, "tracking": a.Tracking}
	}
	return []versioning.Change{change}, nil
})

// carry runs one worker of the shipments until ctx is done.
func carry(ctx context.Context, cfg workerConfig) error {
	pool, err := openPool(ctx, cfg.databaseURL)
	if err != nil {
		return err
	}
	defer pool.Close()
	store, err := postgres.Open(ctx, pool, postgres.Table{Machine: Shipment, Name: "orderflow.shipments"})
	if err != nil {
		return err
	}
	worker, err := consumer.New(consumer.Config{
		Client: cfg.client(),
		Group:  cfg.group,
		Topics: []string{cfg.topic},
		Store:  store,
		Decode: decodeAnnouncement,
		Logger: cfg.logger,
		Hooks:  cfg.hooks,
	})
	if err != nil {
		return err
	}
	return worker.Run(ctx)
}
