package contend

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/pawl-go/pawl/bench/internal/traffic"
	"github.com/pawl-go/pawl/statemachine"
)

// runHandWrittenOutbox is the sixteen-way loop with an outbox as people write it: each
// transaction inserts the message into a table, and a relay polls that table, produces what it
// finds, waits for the acknowledgement and deletes it.
func runHandWrittenOutbox(ctx context.Context, job Job, machine *statemachine.Machine, m *meter) error {
	pool, err := connect(ctx, job.DatabaseURL, shards+1)
	if err != nil {
		return err
	}
	defer pool.Close()
	client, err := kgo.NewClient(kgo.SeedBrokers(job.Brokers...), kgo.WithHooks(m))
	if err != nil {
		return fmt.Errorf("create the Kafka client: %w", err)
	}
	defer client.Close()
	loop := outboxLoop{newTransactor(pool, machine), m, job.Out}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return loop.relay(ctx, client) })
	group.Go(func() error {
		seed := maphash.MakeSeed()
		return eachPoll(ctx, job, m, maxPoll, func(ctx context.Context, records []*kgo.Record) error {
			return inShares(ctx, seed, shards, records, loop.write)
		})
	})
	return group.Wait()
}

type outboxLoop struct {
	transactor
	meter *meter
	topic string
}

func (l *outboxLoop) write(ctx context.Context, records []*kgo.Record) error {
	for _, r := range records {
		message, err := traffic.Decode(r.Value)
		if err != nil {
			return err
		}
		if err := l.apply(ctx, header(r, traffic.IDHeader), &message); err != nil {
			return err
		}
		l.meter.stepCommitted(message.Key+"/"+string(message.Event), time.Now())
	}
	return nil
}

// apply applies a message and inserts the message that it causes.
func (l *outboxLoop) apply(ctx context.Context, id string, message *traffic.Message) error {
	return pgx.BeginFunc(ctx, l.pool, func(tx pgx.Tx) error {
		done, err := l.transactor.write(ctx, tx, id, message)
		if err != nil || !done {
			return err
		}
		value, err := json.Marshal(traffic.Announcement{Key: message.Key, Event: message.Event, Currency: "EUR", Total: "129.90"})
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO order_outbox (message_id, key, event, value) VALUES ($1, $2, $3, $4)`,
			id, message.Key, message.Event, value); err != nil {
			return fmt.Errorf("insert the message: %w", err)
		}
		return nil
	})
}

// The relay reads up to relayLimit messages at a time, and waits for relayPause if there are
// none.
const (
	relayLimit = 1000
	relayPause = 50 * time.Millisecond
)

func (l *outboxLoop) relay(ctx context.Context, client *kgo.Client) error {
	for ctx.Err() == nil {
		sent, err := l.relaySome(ctx, client)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("relay: %w", err)
		}
		if sent == 0 {
			time.Sleep(relayPause)
		}
	}
	return nil
}

func (l *outboxLoop) relaySome(ctx context.Context, client *kgo.Client) (sent int, err error) {
	err = pgx.BeginFunc(ctx, l.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT id, message_id, key, event, value FROM order_outbox ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED`, relayLimit)
		if err != nil {
			return err
		}
		var ids []int64
		var records []*kgo.Record
		var id int64
		var messageID, key, event string
		var value []byte
		_, err = pgx.ForEachRow(rows, []any{&id, &messageID, &key, &event, &value}, func() error {
			ids = append(ids, id)
			records = append(records, &kgo.Record{
				Topic: l.topic, Key: []byte(key), Value: append([]byte(nil), value...),
				Headers: []kgo.RecordHeader{{Key: traffic.IDHeader, Value: []byte(messageID)}, {Key: traffic.TypeHeader, Value: []byte(event)}},
			})
			return nil
		})
		if err != nil || len(ids) == 0 {
			return err
		}
		if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
			return err
		}
		sent = len(ids)
		_, err = tx.Exec(ctx, `DELETE FROM order_outbox WHERE id = ANY ($1)`, ids)
		return err
	})
	return sent, err
}
