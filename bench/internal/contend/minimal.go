package contend

import (
	"context"
	"fmt"
	"hash/maphash"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/pawl-go/pawl/bench/internal/traffic"
	"github.com/pawl-go/pawl/statemachine"
)

// minimalBatch is the number of records per transaction of the minimal limit.
const minimalBatch = 5000

// runMinimal writes the rows that result from the records as fast as a
// hand-tuned loader would: one round trip per transaction, with a guarded
// UPDATE, an INSERT and the history, and no reads. It knows the rows in
// advance, so it detects nothing and could not handle a redelivery.
func runMinimal(ctx context.Context, job Job, machine *statemachine.Machine, m *meter) error {
	lists, err := foldTopic(ctx, job, machine)
	if err != nil {
		return err
	}
	pool, err := connect(ctx, job.DatabaseURL, connections)
	if err != nil {
		return err
	}
	defer pool.Close()
	m.start()
	group, ctx := errgroup.WithContext(ctx)
	for _, moves := range lists {
		group.Go(func() error {
			for _, move := range moves {
				if err := move.write(ctx, pool); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	m.settle(job.Records)
	return nil
}

// moves holds the arguments of one transaction.
type moves struct {
	updates struct {
		keys, from, to []string
		was, is        []int64
		at             map[string]int
	}
	inserts struct {
		keys, states, customers, totals []string
		versions                        []int64
		at                              map[string]int
	}
	history struct {
		keys, events, from, to, ids []string
		versions                    []int64
	}
}

func newMoves() *moves {
	b := &moves{}
	b.updates.at, b.inserts.at = make(map[string]int), make(map[string]int)
	return b
}

type position struct {
	state   statemachine.State
	version int64
}

func (b *moves) add(message traffic.Message, id string, from position, to statemachine.State) {
	version := from.version + 1
	h := &b.history
	h.keys, h.versions = append(h.keys, message.Key), append(h.versions, version)
	h.events, h.ids = append(h.events, string(message.Event)), append(h.ids, id)
	h.from, h.to = append(h.from, string(from.state)), append(h.to, string(to))
	if i, ok := b.inserts.at[message.Key]; ok {
		b.inserts.states[i], b.inserts.versions[i] = string(to), version
		return
	}
	if i, ok := b.updates.at[message.Key]; ok {
		b.updates.to[i], b.updates.is[i] = string(to), version
		return
	}
	if from.version == 0 {
		n := &b.inserts
		n.at[message.Key] = len(n.keys)
		n.keys, n.states, n.versions = append(n.keys, message.Key), append(n.states, string(to)), append(n.versions, version)
		n.customers, n.totals = append(n.customers, message.Customer), append(n.totals, message.Total)
		return
	}
	u := &b.updates
	u.at[message.Key] = len(u.keys)
	u.keys, u.from, u.was = append(u.keys, message.Key), append(u.from, string(from.state)), append(u.was, from.version)
	u.to, u.is = append(u.to, string(to)), append(u.is, version)
}

func (b *moves) write(ctx context.Context, pool *pgxpool.Pool) error {
	batch := &pgx.Batch{}
	batch.Queue("BEGIN")
	if u := &b.updates; len(u.keys) > 0 {
		batch.Queue(`
UPDATE orders AS t SET state = u.to_state, version = u.is_version
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::bigint[]) AS u(id, from_state, was, to_state, is_version)
WHERE t.id = u.id AND t.state = u.from_state AND t.version = u.was`, u.keys, u.from, u.was, u.to, u.is)
	}
	if n := &b.inserts; len(n.keys) > 0 {
		batch.Queue(`
INSERT INTO orders (id, state, version, customer, total)
SELECT id, state, version, customer, total::numeric
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[]) AS u(id, state, version, customer, total)
ON CONFLICT (id) DO NOTHING`, n.keys, n.states, n.versions, n.customers, n.totals)
	}
	h := &b.history
	batch.Queue(`
INSERT INTO order_history (order_id, version, event, from_state, to_state, message_id)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[])`,
		h.keys, h.versions, h.events, h.from, h.to, h.ids)
	batch.Queue("COMMIT")
	if err := pool.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("write a batch: %w", err)
	}
	return nil
}

// foldTopic reads the topic and folds it, for each connection, into what that
// connection will write.
func foldTopic(ctx context.Context, job Job, machine *statemachine.Machine) (lists [connections][]*moves, err error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(job.Brokers...), kgo.ConsumeTopics(job.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return lists, fmt.Errorf("create the Kafka client: %w", err)
	}
	defer client.Close()
	seed, at := maphash.MakeSeed(), make(map[string]position)
	for n := 0; n < job.Records; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return lists, fmt.Errorf("poll: %w", err)
		}
		for _, r := range fetches.Records() {
			message, err := traffic.Decode(r.Value)
			if err != nil {
				return lists, err
			}
			from := at[message.Key]
			to, ok := machine.Fire(from.state, message.Event)
			if !ok {
				return lists, fmt.Errorf("%w: %s of %s", errIllegal, message.Event, message.Key)
			}
			list := &lists[maphash.String(seed, message.Key)%connections]
			if last := len(*list) - 1; last < 0 || len((*list)[last].history.keys) == minimalBatch {
				*list = append(*list, newMoves())
			}
			(*list)[len(*list)-1].add(message, header(r, traffic.IDHeader), from, to)
			at[message.Key] = position{to, from.version + 1}
			n++
		}
	}
	return lists, nil
}
