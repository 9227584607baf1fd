package postgres

import (
	"context"
	"fmt"
	"sync"

	"github.com/pawl-go/pawl/gateway"
)

// WithoutTransaction returns a backend for handlers that change entities through Store.Do:
// they get no transaction, and a run holds no connection. Requests that arrive at the same
// time share statements and commits: one connection locks keys and looks for responses, up
// to two store responses. It uses the same table and locks as b, so both may serve the same
// routes, and b's Sweep deletes its responses too.
//
// The response is stored after the change has committed, not together with it. If the process
// dies in between, or the connection that holds the locks breaks, the request runs again: the
// change must be safe to ask for again, as one with the message ID [gateway.MessageID] is.
// Of two runs, the first to store its response decides what both clients get.
func (b *Backend) WithoutTransaction() gateway.Backend { return b.shared }

// A shared is the backend for handlers without transactions.
type shared struct {
	b      *Backend
	keeper *keeper
	stores gatherer[*storing]

	mu     sync.Mutex
	begins map[id]*beginning // of keys that this process has claimed, or asks for
}

// A beginning is a call of Begin that asks the server. Calls with the same key share its
// answer.
type beginning struct {
	done   chan struct{}
	stored []byte
	err    error // nil, and stored nil: the key is claimed
	gone   bool  // its client has gone, so err says nothing about the key
}

// The bounds of a batch: rows, and bytes.
const (
	maxClaims = 1000
	maxStored = 8 << 20
)

func newShared(b *Backend) *shared {
	s := &shared{b: b, begins: make(map[id]*beginning)}
	s.keeper = newKeeper(b)
	s.stores = gatherer[*storing]{
		work: s.store, most: 2, room: maxStored,
		limit: func(st *storing) int { return maxStored/maxClaims + len(st.response) },
	}
	return s
}

// Begin claims a key; see [gateway.Backend].
func (s *shared) Begin(ctx context.Context, key gateway.Key) (gateway.Run, []byte, error) {
	id := key.ID()
	for {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		own, other := s.enter(id)
		if own != nil {
			return s.begin(ctx, id, own)
		}
		select {
		case <-other.done:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
		switch {
		case other.gone: // ask again
		case other.stored != nil || other.err != nil:
			return nil, other.stored, other.err
		default:
			return nil, nil, s.b.inProgress()
		}
	}
}

// enter registers a call of Begin, or returns the one that has the key.
func (s *shared) enter(id id) (own, other *beginning) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.begins[id]; known != nil {
		return nil, known
	}
	own = &beginning{done: make(chan struct{})}
	s.begins[id] = own
	return own, nil
}

func (s *shared) leave(id id) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.begins, id)
}

func (s *shared) begin(ctx context.Context, id id, own *beginning) (gateway.Run, []byte, error) {
	own.stored, own.err = s.keeper.claim(ctx, id)
	own.gone = own.err != nil && ctx.Err() != nil
	if own.stored != nil || own.err != nil {
		s.leave(id)
	}
	close(own.done)
	if own.stored != nil || own.err != nil {
		return nil, own.stored, own.err
	}
	return &sharedRun{s: s, id: id}, nil, nil
}

// A sharedRun is a claim that holds a lock of the keeper's connection.
type sharedRun struct {
	s     *shared
	id    id
	ended bool
}

func (r *sharedRun) Context(ctx context.Context) context.Context { return ctx }

// Finish stores the response in a transaction with those of other runs.
func (r *sharedRun) Finish(ctx context.Context, result gateway.Result) error {
	if r.ended {
		return gateway.ErrEnded
	}
	st := &storing{id: r.id, response: result.Response, done: make(chan struct{})}
	r.s.stores.add(st)
	var err error
	select {
	case <-st.done:
		err = st.err
	case <-ctx.Done():
		err = fmt.Errorf("%w: %w", gateway.ErrFateUnknown, ctx.Err())
	}
	if err != nil {
		await(ctx, r.end())
		return err
	}
	r.ended = true
	r.s.keeper.unlockLater(r.id)
	r.s.leave(r.id)
	return nil
}

// Release frees the key.
func (r *sharedRun) Release(ctx context.Context) error {
	if r.ended {
		return gateway.ErrEnded
	}
	await(ctx, r.end())
	return ctx.Err()
}

func (r *sharedRun) end() (unlocked <-chan struct{}) {
	r.ended = true
	unlocked = r.s.keeper.unlock(r.id) // before the next claim of the key can be asked for
	r.s.leave(r.id)
	return unlocked
}

func await(ctx context.Context, done <-chan struct{}) {
	select {
	case <-done:
	case <-ctx.Done():
	}
}
