package postgres

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// A keeper holds the locks of all runs without transactions, on one connection. They are
// locks of the session, so that each can be released by itself. The session is in a
// transaction as long as it holds one, and for a moment after that: a pooler then leaves the
// session to it, and ends the session if this process dies. It reads within a savepoint and rolls back to it each time, so
// it holds no snapshot and no lock of a table, however long the transaction is open.
//
// If the connection breaks, the locks are lost, and other processes may run the same requests:
// then the history, and whose response is stored first, decide.
type keeper struct {
	b     *Backend
	tasks gatherer[*task]

	// Owned by the one goroutine that works on tasks.
	tx    pgx.Tx
	holds map[id]int  // how often the session has locked each key: twice if the client of a claim has gone
	owed  []id        // of holds: to be unlocked with the next tasks, because nobody needs them
	timer *time.Timer // for the next sign of life, or the end of the transaction
}

// A task is a key to be claimed or unlocked, or a sign of life, or the end of the session.
type task struct {
	id     id
	unlock bool
	alive  bool
	lose   bool

	done   chan struct{}
	stored []byte
	locked bool
	err    error

	mu   sync.Mutex
	gone bool // nobody waits for the claim
	over bool // the claim has been decided
}

const (
	// keeperBegin begins the transaction. The server ends a session that gives no sign of life
	// for a minute, as when the host has disappeared. It plans each statement once, with the
	// indexes: it would plan those for a few keys again each time, and a plan that reads the
	// whole table, which is good as long as that is small, must not be kept.
	keeperBegin = `BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = '60s';
SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off; SAVEPOINT ` + savepoint

	// keeperAlive is how often the session gives a sign of life.
	keeperAlive = 15 * time.Second

	// keeperLinger is how long the transaction stays open without a lock, so that requests that
	// come one after another need not begin one each.
	keeperLinger = 50 * time.Millisecond

	// keeperDelay is how long the unlocking of a key may be delayed whose response is stored:
	// the response is found whether the key is locked or not.
	keeperDelay = 5 * time.Millisecond

	// keeperTimeout limits a round trip.
	keeperTimeout = 10 * time.Second
)

func newKeeper(b *Backend) *keeper {
	k := &keeper{b: b, holds: make(map[id]int)}
	k.tasks = gatherer[*task]{work: k.work, most: 1, room: maxClaims, limit: func(*task) int { return 1 }}
	return k
}

// claim locks a key and looks for its response. It returns the response, or nil if the key is
// locked now.
func (k *keeper) claim(ctx context.Context, id id) ([]byte, error) {
	t := &task{id: id, done: make(chan struct{})}
	k.tasks.add(t)
	select {
	case <-t.done:
	case <-ctx.Done():
		if t.leave() {
			return nil, ctx.Err()
		}
		<-t.done
	}
	switch {
	case t.err != nil:
		return nil, t.err
	case t.stored == nil && !t.locked:
		return nil, k.b.inProgress()
	}
	return t.stored, nil
}

// leave gives up a claim. It returns false if the claim has been decided.
func (t *task) leave() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gone = !t.over
	return t.gone
}

// decide ends a claim, and reports whether somebody waits for it.
func (t *task) decide() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	close(t.done)
	return !t.gone
}

// unlock frees a key. It does not wait; done is closed when the key is free.
func (k *keeper) unlock(id id) (done <-chan struct{}) {
	t := &task{id: id, unlock: true, done: make(chan struct{})}
	k.tasks.add(t)
	return t.done
}

// unlockLater frees a key whose response is stored, with other tasks if there are some soon.
func (k *keeper) unlockLater(id id) {
	if !k.tasks.later(&task{id: id, unlock: true, done: make(chan struct{})}) {
		time.AfterFunc(keeperDelay, func() { k.tasks.add(&task{alive: true}) })
	}
}

// renew ends the session, so that the next claims are made in another one.
func (k *keeper) renew() { k.tasks.add(&task{lose: true}) }

// work does tasks in one round trip.
func (k *keeper) work(tasks []*task) {
	if slices.ContainsFunc(tasks, func(t *task) bool { return t.lose }) {
		k.lose()
	}
	ctx, cancel := context.WithTimeout(context.Background(), keeperTimeout)
	defer cancel()
	claims, unlocks := k.sort(tasks)
	err := k.roundTrip(ctx, claims, unlocks)
	if err != nil {
		k.lose()
	}
	for _, t := range claims {
		if err != nil {
			t.err = k.b.failed(context.Background(), fmt.Errorf("lock keys: %w", err))
		} else if t.locked {
			k.holds[t.id]++
		}
		if needed := t.decide() && t.stored == nil; t.locked && t.err == nil && !needed {
			k.owed = append(k.owed, t.id)
		}
	}
	for _, t := range tasks {
		if t.unlock {
			close(t.done)
		}
	}
	k.rest(ctx, len(claims)+len(unlocks) == 0)
}

// sort separates tasks. Keys that the session does not hold, because it was lost, need not be
// unlocked.
func (k *keeper) sort(tasks []*task) (claims []*task, unlocks []int64) {
	free := func(id id) {
		if k.holds[id] == 0 {
			return
		}
		if k.holds[id]--; k.holds[id] == 0 {
			delete(k.holds, id)
		}
		unlocks = append(unlocks, k.b.lockKey(id))
	}
	for _, id := range k.owed {
		free(id)
	}
	k.owed = nil
	for _, t := range tasks {
		switch {
		case t.unlock:
			free(t.id)
		case !t.alive && !t.lose:
			claims = append(claims, t)
		}
	}
	return claims, unlocks
}

const (
	lockAllSQL = `
SELECT u.n, pg_try_advisory_lock(u.key) FROM unnest($1::bigint[]) WITH ORDINALITY AS u(key, n)`

	unlockAllSQL = `SELECT pg_advisory_unlock(u.key) FROM unnest($1::bigint[]) AS u(key)`
)

// roundTrip unlocks, then locks, then looks for responses: in this order, what the holder
// before has stored is visible.
func (k *keeper) roundTrip(ctx context.Context, claims []*task, unlocks []int64) (err error) {
	if k.tx == nil {
		if len(claims) == 0 {
			return nil
		}
		if err := k.begin(ctx); err != nil {
			return err
		}
	}
	if len(claims)+len(unlocks)+len(k.holds) == 0 {
		return nil // no sign of life is needed
	}
	keys, ids := make([]int64, len(claims)), make([][]byte, len(claims))
	for i, t := range claims {
		keys[i], ids[i] = k.b.lockKey(t.id), t.id[:]
	}
	batch := &pgx.Batch{}
	if len(unlocks) > 0 {
		batch.Queue(unlockAllSQL, unlocks)
	}
	if len(claims) > 0 {
		queueEach(batch, lockAllSQL, keys, func(i int, locked bool) { claims[i].locked = locked })
		queueEach(batch, k.b.sql.lookupAll, ids, func(i int, stored []byte) { claims[i].stored = stored })
	}
	batch.Queue("ROLLBACK TO SAVEPOINT " + savepoint) // the locks of the session stay
	return k.tx.SendBatch(ctx, batch).Close()
}

// begin begins the transaction. It waits no longer for a connection than requests should.
func (k *keeper) begin(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, k.b.cfg.QueueTimeout)
	defer cancel()
	k.tx, err = k.b.pool.BeginTx(ctx, pgx.TxOptions{BeginQuery: keeperBegin})
	return err
}

// queueEach queues a statement that returns a row for each element of an array: its number,
// from 1, and a value.
func queueEach[T any](batch *pgx.Batch, sql string, array any, use func(i int, value T)) {
	batch.Queue(sql, array).Query(func(rows pgx.Rows) error { return eachOf(rows, use) })
}

// rest ends the session's transaction if it holds no lock and there was nothing to do, and
// otherwise sees to it that the session gives a sign of life.
func (k *keeper) rest(ctx context.Context, quiet bool) {
	if k.timer != nil {
		k.timer.Stop()
	}
	switch {
	case k.tx == nil:
	case len(k.owed) > 0:
		k.tasks.add(&task{alive: true})
	case len(k.holds) > 0:
		k.timer = time.AfterFunc(keeperAlive, func() { k.tasks.add(&task{alive: true}) })
	case !quiet:
		k.timer = time.AfterFunc(keeperLinger, func() { k.tasks.add(&task{alive: true}) })
	case k.tasks.idle():
		if err := k.tx.Commit(ctx); err != nil {
			k.lose()
		}
		k.tx = nil
	}
}

// lose closes the connection, and so ends the session with its locks.
func (k *keeper) lose() {
	if k.tx == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = k.tx.Conn().Close(ctx)
	_ = k.tx.Rollback(ctx) // returns the closed connection to the pool, which drops it
	k.tx, k.owed = nil, nil
	clear(k.holds)
}
