package gatewaytest

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/pawl-go/pawl/gateway"
)

// Memory is a backend in memory. It gives handlers no transaction, so it can't undo what they
// did. It keeps every response until it expires and its key is used again, so its memory grows
// with the number of keys. It is safe for concurrent use.
type Memory struct {
	ttl time.Duration

	mu      sync.Mutex
	running map[[sha256.Size]byte]*memoryRun
	stored  map[[sha256.Size]byte]memoryResponse
}

type memoryResponse struct {
	bytes   []byte
	expires time.Time
}

// NewMemory returns an empty backend that keeps each response for ttl. 0 means 24 hours.
func NewMemory(ttl time.Duration) *Memory {
	if ttl == 0 {
		ttl = 24 * time.Hour
	}
	return &Memory{
		ttl: ttl, running: make(map[[sha256.Size]byte]*memoryRun), stored: make(map[[sha256.Size]byte]memoryResponse),
	}
}

// Begin claims a key; see [gateway.Backend].
func (m *Memory) Begin(ctx context.Context, key gateway.Key) (gateway.Run, []byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	id := key.ID()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running[id] != nil {
		return nil, nil, &gateway.InProgressError{RetryAfter: time.Second}
	}
	if stored, ok := m.stored[id]; ok && time.Now().Before(stored.expires) {
		return nil, stored.bytes, nil
	}
	run := &memoryRun{m: m, id: id}
	m.running[id] = run
	return run, nil, nil
}

// Len returns how many responses are stored, expired ones included.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.stored)
}

type memoryRun struct {
	m  *Memory
	id [sha256.Size]byte
}

func (r *memoryRun) Context(ctx context.Context) context.Context { return ctx }

func (r *memoryRun) Finish(_ context.Context, result gateway.Result) error {
	return r.end(func() {
		r.m.stored[r.id] = memoryResponse{bytes: result.Response, expires: time.Now().Add(r.m.ttl)}
	})
}

func (r *memoryRun) Release(context.Context) error { return r.end(func() {}) }

func (r *memoryRun) end(with func()) error {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	if r.m.running[r.id] != r {
		return gateway.ErrEnded
	}
	delete(r.m.running, r.id)
	with()
	return nil
}
