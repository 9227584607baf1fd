package main

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// A rescuer gives jobs back that nobody works any more. River does that itself after rescueAfter,
// but a run of torture is too short to wait for that, and torture knows better: it has killed the
// worker.
type rescuer struct {
	mu   sync.Mutex
	dead map[string]time.Time // when River's clients have ended
	calm time.Time            // when the last fault was over; zero until then
}

const (
	// deadFor is how long a client must be dead. Before that, the server may still get
	// statements that it has sent.
	deadFor = 3 * time.Second

	// longestCalm is longer than the longest attempt without faults: 15 seconds for a result
	// that can't be applied, and twice the provider's timeout.
	longestCalm = 20 * time.Second
)

// ended records that a process has ended.
func (r *rescuer) ended(client string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dead[client] = time.Now()
}

// calmed records that all faults are over.
func (r *rescuer) calmed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calm = time.Now()
}

// lost returns the clients whose jobs are lost, and the time before which no attempt can have
// begun that still runs.
func (r *rescuer) lost() (clients []string, before time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for client, since := range r.dead {
		if time.Since(since) > deadFor {
			clients = append(clients, client)
		}
	}
	if !r.calm.IsZero() {
		// An attempt that began in the faults has had as long since.
		before = time.Now().Add(-longestCalm)
		if time.Since(r.calm) < longestCalm {
			before = time.Time{}
		}
	}
	return clients, before
}

const rescueSQL = `UPDATE river.river_job SET state = 'available', scheduled_at = now()
	WHERE state = 'running' AND attempt < max_attempts AND (attempted_by[array_upper(attempted_by, 1)] = ANY ($1) OR attempted_at < $2)`

// rescue rescues jobs once a second, until ctx is done.
func (t *torture) rescue(ctx context.Context) {
	for sleep(ctx, time.Second) {
		t.database.mu.Lock()
		url := t.database.url("")
		t.database.mu.Unlock()
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			continue // it is down, or full
		}
		clients, before := t.rescuer.lost()
		for _, tenant := range tenants {
			_, _ = conn.Exec(ctx, tenant.sql(rescueSQL), clients, before) // it is tried again
		}
		_ = conn.Close(context.WithoutCancel(ctx)) // it may be broken
	}
}
