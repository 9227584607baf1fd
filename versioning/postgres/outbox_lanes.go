package postgres

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
)

// This file shares the lanes of the outbox among relays.
//
// A lane belongs to the relay whose transaction holds its advisory lock. The lock ends with
// the transaction, so a relay that dies frees its lanes. It is a lock of a transaction and not
// of a session, because a pooler in transaction mode may give the session to somebody else.
// The transaction is idle nearly all the time and holds no snapshot and no table, so it does
// not hold up VACUUM or anything else. A savepoint before each lock allows to give the lock up:
// rolling back to it releases the lock, and those taken after it.
//
// A process that is frozen keeps its connection. So PostgreSQL ends the transaction once it
// has heard nothing for laneTimeout, and the relay itself takes its lanes for lost earlier,
// after laneGrace.
//
// Each relay also shares one more lock, by which the relays count each other, so each takes
// its share of the lanes.
const (
	laneEvery   = time.Second
	laneTimeout = 30 * time.Second
	laneGrace   = 15 * time.Second
)

// ErrLanesLost is the error of HoldLanes if the lanes may belong to others: the connection was
// lost.
var ErrLanesLost = errors.New("the lanes of the outbox were lost")

// HoldLanes holds lanes of the outbox for a relay until ctx is canceled: as many as are its
// share, given how many relays hold some. It uses a separate connection, which is not one of
// the pool, and so does Packs meanwhile. When HoldLanes returns, the relay holds no lane. If it returns an [ErrLanesLost],
// others may already hold them. It returns nil if ctx was canceled; then it has released all
// lanes with LaneHolder.Release. A store can hold lanes for one relay at a time.
func (s *Store) HoldLanes(ctx context.Context, h versioning.LaneHolder) error {
	if err := s.outbox.attach(h); err != nil {
		return withCause(err)
	}
	defer s.outbox.detach()
	conn, err := s.connect(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return withCause(fmt.Errorf("hold lanes of the outbox: connect to PostgreSQL: %w", err))
	}
	if err := s.schema.checkRights(ctx, conn, relayRightsSQL); err != nil {
		_ = conn.Close(ctx)
		return withCause(fmt.Errorf("hold lanes of the outbox: %w", err))
	}
	defer s.readSeparately(ctx)()
	l := &lanes{store: s, conn: conn, holder: h, released: make(chan struct{}, 1), first: rand.IntN(versioning.Lanes)}
	defer l.close()
	if err := l.hold(ctx); err != nil {
		return withCause(fmt.Errorf("hold lanes of the outbox: %w: %w", ErrLanesLost, throughPooler(err)))
	}
	return nil
}

// lanes holds lanes on a connection. It belongs to one goroutine, except for the fields after
// mu.
type lanes struct {
	store  *Store
	conn   *pgx.Conn
	holder versioning.LaneHolder
	first  int   // relays look for lanes from different ones on
	held   []int // in the order of their savepoints

	released chan struct{} // holds one when a release is complete

	mu      sync.Mutex
	leaving []int // the lanes that the holder is asked for; nil if there are none
	free    bool  // it has released them
}

func (l *lanes) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = l.conn.Close(ctx)
}

// hold holds lanes until ctx is canceled or the connection fails.
func (l *lanes) hold(ctx context.Context) error {
	work := context.WithoutCancel(ctx)
	if err := l.begin(work); err != nil {
		return err
	}
	if err := l.balance(work); err != nil {
		return err
	}
	l.holder.Connected()
	ticker := time.NewTicker(laneEvery)
	defer ticker.Stop()
	done := ctx.Done()
	for {
		select {
		case <-ticker.C:
		case <-done:
			done = nil
			l.release(0)
		case <-l.released:
			if done == nil && l.isReleased() {
				return nil
			}
			if err := l.rollBack(work); err != nil {
				return err
			}
		}
		if done == nil && len(l.held) == 0 {
			return nil
		}
		if done != nil {
			if err := l.balance(work); err != nil {
				return err
			}
		} else if err := l.exec(work, "SELECT 1"); err != nil {
			return err
		}
	}
}

// exec runs statements without parameters in one round trip.
func (l *lanes) exec(ctx context.Context, sql string) error {
	ctx, cancel := context.WithTimeout(ctx, laneGrace)
	defer cancel()
	_, err := l.conn.PgConn().Exec(ctx, sql).ReadAll()
	return err
}

// begin begins the transaction and says that there is a relay.
func (l *lanes) begin(ctx context.Context) error {
	return l.exec(ctx, fmt.Sprintf(`BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT pg_catalog.set_config('idle_in_transaction_session_timeout', '%d', true);
SELECT pg_catalog.set_config('transaction_timeout', '0', true) WHERE pg_catalog.current_setting('transaction_timeout', true) IS NOT NULL;
SELECT pg_catalog.pg_advisory_xact_lock_shared(%d)`, laneTimeout.Milliseconds(), l.key(presence)))
}

// presence is the number of the lock by which relays count each other.
const presence = versioning.Lanes

// key returns the key of the lock of a lane. It depends on the name of the framework's schema.
func (l *lanes) key(lane int) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte("pawl: the lanes of schema " + l.store.schema.String())) // never fails
	return int64(h.Sum64()&^(2*versioning.Lanes-1)) | int64(lane)
}

// balance takes free lanes up to this relay's share, or gives up those beyond it.
func (l *lanes) balance(ctx context.Context) error {
	relays, taken, err := l.look(ctx)
	if err != nil {
		return err
	}
	share := (versioning.Lanes + relays - 1) / relays
	if l.isReleasing() {
		return nil
	}
	if len(l.held) > share {
		l.release(share)
		return nil
	}
	for i := range versioning.Lanes {
		lane := (l.first + i) % versioning.Lanes
		if len(l.held) < share && !taken[lane] {
			if err := l.take(ctx, lane); err != nil {
				return err
			}
		}
	}
	return nil
}

// look returns how many relays there are and which lanes they hold.
//
// The transaction must hold neither a snapshot nor a lock of a table between its statements. So
// all of them go by the simple protocol, because a portal of the other one would keep its
// snapshot, and rolling back to a savepoint releases the locks of the catalog's tables.
func (l *lanes) look(ctx context.Context) (relays int, taken [versioning.Lanes]bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, laneGrace)
	defer cancel()
	results, err := l.conn.PgConn().Exec(ctx, fmt.Sprintf(locksSQL, l.key(0), l.key(presence))).ReadAll()
	if err != nil {
		return 0, taken, err
	}
	for _, row := range results[1].Rows {
		n, err := strconv.Atoi(string(row[0]))
		switch {
		case err != nil:
			return 0, taken, err
		case n == presence:
			relays++
		default:
			taken[n] = true
		}
	}
	return max(relays, 1), taken, nil
}

const locksSQL = `SAVEPOINT look; SELECT k - %[1]d FROM (
	SELECT classid::bigint << 32 | objid::bigint AS k FROM pg_catalog.pg_locks
	WHERE locktype = 'advisory' AND objsubid = 1 AND granted
	  AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
) AS locks WHERE k BETWEEN %[1]d AND %[2]d;
ROLLBACK TO SAVEPOINT look; RELEASE SAVEPOINT look`

// take takes a lane if it is free.
func (l *lanes) take(ctx context.Context, lane int) error {
	ctx, cancel := context.WithTimeout(ctx, laneGrace)
	defer cancel()
	results, err := l.conn.PgConn().Exec(ctx, fmt.Sprintf("SAVEPOINT lane_%d; SELECT pg_catalog.pg_try_advisory_xact_lock(%d)", lane, l.key(lane))).ReadAll()
	if err != nil {
		return err
	}
	if string(results[1].Rows[0][0]) != "t" {
		return l.exec(ctx, fmt.Sprintf("ROLLBACK TO SAVEPOINT lane_%[1]d; RELEASE SAVEPOINT lane_%[1]d", lane))
	}
	l.held = append(l.held, lane)
	l.store.outbox.hold(lane, true)
	l.holder.Take(lane)
	return nil
}

// release asks the holder for all lanes but the first ones. rollBack gives them up when the
// holder has answered.
func (l *lanes) release(keep int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leaving != nil {
		if keep > 0 {
			return
		}
		keep = 0
	}
	l.leaving = slices.Clone(l.held[keep:])
	l.free = false
	if len(l.leaving) == 0 {
		l.leaving = nil
		return
	}
	leaving := l.leaving
	go func() {
		var all sync.WaitGroup
		for _, lane := range leaving {
			all.Go(func() { l.holder.Release(lane) })
		}
		all.Wait()
		l.mu.Lock()
		l.free = slices.Equal(leaving, l.leaving)
		l.mu.Unlock()
		select {
		case l.released <- struct{}{}:
		default: // a signal is already pending
		}
	}()
}

func (l *lanes) isReleasing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leaving != nil
}

// isReleased reports whether the holder has released all lanes.
func (l *lanes) isReleased() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.free && len(l.leaving) == len(l.held)
}

// rollBack gives up the lanes that the holder has released.
func (l *lanes) rollBack(ctx context.Context) error {
	l.mu.Lock()
	if !l.free {
		l.mu.Unlock()
		return nil
	}
	leaving := l.leaving
	l.leaving, l.free = nil, false
	l.mu.Unlock()
	for _, lane := range leaving {
		l.store.outbox.hold(lane, false)
	}
	l.held = l.held[:len(l.held)-len(leaving)]
	return l.exec(ctx, fmt.Sprintf("ROLLBACK TO SAVEPOINT lane_%[1]d; RELEASE SAVEPOINT lane_%[1]d", leaving[0]))
}
