package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/pace"
	"github.com/pawl-go/pawl/versioning"
)

// A transactor publishes a lane in Kafka transactions.
//
// It works in sessions. A session begins by getting a producer ID for the lane's transactional
// ID: from then on, Kafka refuses transactions of earlier sessions, here or in another relay,
// and has aborted or completed the last one. Then it reads the lane's position, which is the
// tokens of the packs of the last transaction that was committed, and deletes these packs
// without sending them. Only then are packs read from the outbox, so all of them are
// unpublished. Each transaction commits the tokens of its packs together with their messages,
// and its packs are deleted before the next one is committed. After any error, a new session
// begins.
type transactor struct {
	*tenure

	lane  *lane
	wake  chan struct{} // holds one if there may be packs, or the lane is to be released
	alone bool          // send one message at a time, to find the one that is refused

	// Guarded by the mutex of the tenure.
	busy  bool // something may be in flight or not deleted
	ready bool // packs may be read
}

// run publishes until the lane is released or ctx is canceled.
func (x *transactor) run(ctx context.Context) {
	wait := x.cfg.backOff()
	for {
		began := time.Now()
		err := x.session(ctx)
		if err == nil || ctx.Err() != nil {
			x.rest(false)
			return
		}
		if errors.Is(err, errAlone) || errors.Is(err, errAnew) {
			x.rest(false)
			continue
		}
		if time.Since(began) > x.cfg.RetryMax {
			wait.Reset()
		}
		pause := wait.NextBackOff()
		if errors.Is(err, kerr.ProducerFenced) {
			err = fmt.Errorf("another relay publishes lane %d, or a transaction of it took longer than %v: %w", x.lane.id, transactionTimeout, err)
			pause = max(pause, fencedWait)
		}
		x.vitals.failed(&x.vitals.kafka, reasonKafka, "", err)
		x.log.limited(slog.LevelError, "messages could not be published; retrying", "", "error", err)
		x.rest(false) // now the lane may be released, which ends its trouble
		if !pace.Sleep(ctx, pause) {
			return
		}
	}
}

// fencedWait is how long a relay leaves a lane alone after Kafka has refused its producer. If
// another relay has the lane, this one hears of it meanwhile from its store.
const fencedWait = 20 * time.Second

// rest says that nothing is in flight, and whether packs may be read.
func (x *transactor) rest(ready bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.busy, x.ready = false, ready
	x.lane.settle()
}

// errAlone ends a session that found a transaction refused; the next one sends its messages
// one at a time, or again together.
var errAlone = errors.New("a new session is needed to send messages alone")

// errAnew ends a session whose client knows a topic that was deleted. The client never takes a new
// topic of that name for it.
var errAnew = errors.New("a new session is needed to look for a topic anew")

// session publishes with one producer ID. It returns nil if the lane is released.
func (x *transactor) session(ctx context.Context) error {
	x.mu.Lock()
	if x.lane.leaving { // perhaps the next relay has it already
		x.mu.Unlock()
		return nil
	}
	x.lane.session++
	x.lane.packs, x.lane.bytes, x.lane.failed = nil, 0, false // they may be published
	x.ready, x.busy = false, true
	x.mu.Unlock()
	id := fmt.Sprintf("%s-%d", x.cfg.TransactionalID, x.lane.id)
	limit := kgo.ProducerBatchMaxBytesFn(x.limits.of)
	if x.alone {
		limit = kgo.ProducerBatchMaxBytes(maxAlone)
	}
	client, err := kgo.NewClient(x.cfg.clientOptions(limit, kgo.TransactionalID(id), kgo.TransactionTimeout(transactionTimeout), kgo.WithContext(ctx))...)
	if err != nil {
		return fmt.Errorf("create a Kafka client: %w", err)
	}
	defer client.Close()
	p := &position{client: client, group: id}
	tokens, err := p.recover(ctx)
	if err != nil {
		return err
	}
	if len(tokens) > 0 {
		n, err := x.cfg.Store.DeleteTokens(ctx, x.lane.id, tokens)
		if err != nil {
			return err
		}
		if n > 0 {
			x.log.log.Info("packs of a relay that has stopped were published already", "lane", x.lane.id, "packs", n)
		}
	}
	x.rest(true)
	signal(x.tenure.wake)
	for {
		packs := x.next()
		if packs == nil {
			return nil
		}
		if len(packs) == 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-x.wake:
			}
			continue
		}
		for _, p := range packs {
			x.limits.learn(ctx, &x.work, client, p.Messages)
		}
		if err := x.transact(ctx, p, packs); err != nil {
			return err
		}
	}
}

// transactionTimeout is how long a transaction may stay open before Kafka aborts it.
const transactionTimeout = time.Minute

// next returns the packs of the next transaction; nil if the lane is to be released.
func (x *transactor) next() []*pack {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.busy = false
	if x.lane.leaving {
		x.ready = false
		x.lane.settle()
		return nil
	}
	packs := append([]*pack{}, x.lane.packs...)
	x.busy = len(packs) > 0
	return packs
}

// transact publishes packs in one transaction.
func (x *transactor) transact(ctx context.Context, at *position, packs []*pack) error {
	client := at.client
	if err := client.BeginTransaction(); err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	if x.produceAll(ctx, client, packs) {
		if err := at.commit(ctx, packs); err != nil {
			return err
		}
		if err := client.EndTransaction(ctx, kgo.TryCommit); err != nil {
			return fmt.Errorf("commit a transaction: %w", err)
		}
		return x.published(ctx, packs)
	}
	if err := client.AbortBufferedRecords(ctx); err != nil {
		return err
	}
	if err := client.EndTransaction(ctx, kgo.TryAbort); err != nil {
		return fmt.Errorf("abort a transaction: %w", err)
	}
	return x.failed(ctx, packs)
}

// produceAll sends the messages of packs, and reports whether all have arrived.
func (x *transactor) produceAll(ctx context.Context, client *kgo.Client, packs []*pack) bool {
	for _, p := range packs {
		x.mu.Lock()
		p.states, p.left, p.sent = make([]state, len(p.Messages)), len(p.Messages), time.Now()
		x.lane.inFlight += len(p.Messages)
		x.mu.Unlock()
	}
	all := true
	for _, p := range packs {
		for i := range p.Messages {
			if !all {
				x.answered(x.lane, p, i, errNotSent)
				continue
			}
			x.produce(ctx, client, x.lane, p, i)
			if x.alone {
				all = client.Flush(ctx) == nil && x.state(p, i).is == acked
			}
		}
	}
	if err := client.Flush(ctx); err != nil {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, p := range packs {
		all = all && p.left == 0
	}
	x.lane.failed = false
	return all
}

func (x *transactor) state(p *pack, i int) state {
	x.mu.Lock()
	defer x.mu.Unlock()
	return p.states[i]
}

// published deletes packs that are published, and what a relay that has lost the lane may have
// left of them meanwhile. The next transaction must wait for that.
func (x *transactor) published(ctx context.Context, packs []*pack) error {
	gone := make(map[*pack]bool, len(packs))
	var refs []versioning.PackRef
	n := 0
	for _, p := range packs {
		gone[p], refs, n = true, append(refs, p.PackRef), n+len(p.Messages)
	}
	wait := x.cfg.backOff()
	for {
		err := x.cfg.Store.DeletePacks(ctx, refs, true)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		x.vitals.failed(&x.vitals.deleting, reasonDatabase, "", err)
		x.log.limited(slog.LevelError, "published messages can't be deleted from the outbox; retrying", "", "error", err)
		if !pace.Sleep(ctx, wait.NextBackOff()) {
			return ctx.Err()
		}
	}
	x.vitals.over(&x.vitals.deleting)
	x.vitals.over(&x.vitals.kafka)
	x.vitals.count(n, 0)
	x.removed(gone)
	if x.alone {
		x.alone = false
		return errAlone
	}
	return nil
}
