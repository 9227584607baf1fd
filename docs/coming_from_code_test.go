package docs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// This file has the Go code of coming-from.md, between comments that name its blocks.

// snippet: loop

type orderMessage struct {
	Order   string             `json:"order"`
	Event   statemachine.Event `json:"event"`
	Version int64              `json:"version"` // that the producer has seen
}

func loop(ctx context.Context, client *kgo.Client, pool *pgxpool.Pool) error {
	steps := map[statemachine.Event][2]string{"paid": {"pending", "paid"}, "shipped": {"paid", "shipped"}}
	for {
		for _, r := range client.PollFetches(ctx).Records() {
			var m orderMessage
			if err := json.Unmarshal(r.Value, &m); err != nil {
				fmt.Println("skipped:", err)
				continue
			}
			step := steps[m.Event]
			tag, err := pool.Exec(ctx, `UPDATE orders SET state = $3, version = version + 1 WHERE id = $1 AND state = $2 AND version = $4`,
				m.Order, step[0], step[1], m.Version)
			if err != nil {
				return err // read again after a restart
			}
			if tag.RowsAffected() == 0 {
				fmt.Println("already processed:", m.Order)
			}
		}
		if err := client.CommitUncommittedOffsets(ctx); err != nil {
			return err
		}
	}
}

// snippet: loop machine

var Order = statemachine.MustCompile(statemachine.Definition{
	Name: "order", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "placed", To: "pending"},
		{Event: "paid", From: statemachine.In("pending"), To: "paid"},
		{Event: "shipped", From: statemachine.In("paid"), To: "shipped"},
		{Event: "cancelled", From: statemachine.In("pending", "paid"), To: "cancelled"},
	},
	Terminal: statemachine.In("shipped", "cancelled"),
})

func changes(m orderMessage, _ *versioning.Record) ([]versioning.Change, error) {
	return []versioning.Change{{Key: m.Order, Event: m.Event, Expected: versioning.At(m.Version)}}, nil
}

// snippet: loop worker

func work(ctx context.Context, pool *pgxpool.Pool) error {
	store, err := postgres.Open(ctx, pool, postgres.Table{Machine: Order, Name: "orders"})
	if err != nil {
		return err
	}
	worker, err := consumer.New(consumer.Config{
		Client: []kgo.Opt{kgo.SeedBrokers("localhost:9092")},
		Group:  "order-workers", // that of the loop
		Topics: []string{"orders"},
		Store:  store,
		Decode: consumer.JSON(changes),
	})
	if err != nil {
		return err
	}
	return worker.Run(ctx)
}

// snippet: spring

var Payment = statemachine.MustCompile(statemachine.Definition{
	Name: "payment", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "authorized", To: "authorized", Do: statemachine.Do(authorize)},
		{Event: "captured", From: statemachine.In("authorized"), To: "captured", Do: statemachine.Do(capture)},
	},
	Terminal: statemachine.In("captured"),
})

type paymentRow struct {
	Amount   int64 `db:"amount"`
	Captured int64 `db:"captured"`
}

type paymentEvent struct {
	Amount int64 `json:"amount"`
}

func authorize(_ *statemachine.Firing, p *paymentRow, e paymentEvent) error {
	p.Amount = e.Amount
	return nil
}

func capture(f *statemachine.Firing, p *paymentRow, e paymentEvent) error {
	if e.Amount > p.Amount {
		return errors.New("more than was authorized") // a dead letter with this text, at once
	}
	p.Captured = e.Amount
	f.Emit("receipts", e) // published if, and only if, this step is committed
	return nil
}

// snippet: masstransit

var Subscription = statemachine.MustCompile(statemachine.Definition{
	Name: "subscription", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "submitted", To: "submitted"},
		{Event: "accepted", From: statemachine.In("submitted"), To: "accepted"},
		{Event: "expired", From: statemachine.In("submitted"), To: "abandoned", After: 30 * 24 * time.Hour},
	},
	Terminal: statemachine.In("accepted", "abandoned"),
})

// snippet: watermill

func decode(r *versioning.Record) ([]versioning.Change, error) {
	var m struct {
		Type    statemachine.Event `json:"type"`
		OrderID string             `json:"order_id"`
	}
	if err := json.Unmarshal(r.Value, &m); err != nil {
		return nil, err // Rejected: a dead letter, and the partition goes on
	}
	return []versioning.Change{{Key: m.OrderID, Event: m.Type}}, nil
}

func config(store consumer.Store) consumer.Config {
	return consumer.Config{
		Client: []kgo.Opt{kgo.SeedBrokers("localhost:9092")},
		Group:  "order-workers",
		Topics: []string{"orders"},
		Store:  store,
		Decode: consumer.MessageIDFrom("_watermill_message_uuid", decode),
	}
}

// snippet: workflow

type charge struct {
	Amount int64 `json:"amount"`
}

func (charge) Kind() string { return "charge" }

func askForMoney(f *statemachine.Firing, o *orderRow, _ struct{}) error {
	f.Enqueue(charge{Amount: o.Total}) // a handler makes the call; its answer is "charged" or "declined"
	return nil
}

type orderRow struct {
	Total int64 `db:"total"`
}

var Checkout = statemachine.MustCompile(statemachine.Definition{
	Name: "checkout", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "confirmed", To: "charging", Do: statemachine.Do(askForMoney)},
		{Event: "charged", From: statemachine.In("charging"), To: "paid"},
		{Event: "declined", From: statemachine.In("charging"), To: "failed"},
		{Event: "timed_out", From: statemachine.In("charging"), To: "failed", After: time.Hour},
		{Event: "approved", From: statemachine.In("paid"), To: "done"}, // from Store.Do, in an HTTP handler
	},
	Terminal: statemachine.In("done", "failed"),
})

// snippet: end

var _ = []any{loop, work, config}
