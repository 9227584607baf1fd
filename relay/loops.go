package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/pawl-go/pawl/internal/pace"
	"github.com/pawl-go/pawl/versioning"
)

// deleteLoop deletes acknowledged packs.
func (t *tenure) deleteLoop(ctx context.Context) {
	wait := t.cfg.backOff()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.acks:
		}
		for {
			err := t.deleteAcked(ctx)
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				wait.Reset()
				t.vitals.over(&t.vitals.deleting)
				break
			}
			t.vitals.failed(&t.vitals.deleting, reasonDatabase, "", err)
			t.log.limited(slog.LevelError, "published messages can't be deleted from the outbox; retrying", "", "error", err)
			if !pace.Sleep(ctx, wait.NextBackOff()) {
				return
			}
		}
	}
}

func (t *tenure) deleteAcked(ctx context.Context) error {
	done := make(map[*pack]bool)
	var refs []versioning.PackRef
	n := 0
	t.mu.Lock()
	for _, l := range t.lanes {
		if l == nil || l.failed { // the decision must see what has overtaken a failed message
			continue
		}
		for _, p := range l.packs {
			if p.left == 0 {
				done[p], refs, n = true, append(refs, p.PackRef), n+len(p.Messages)
			}
		}
	}
	t.mu.Unlock()
	if len(refs) == 0 {
		return nil
	}
	if err := t.cfg.Store.DeletePacks(ctx, refs, false); err != nil {
		return err
	}
	t.vitals.count(n, 0)
	t.removed(done)
	return nil
}

// removed forgets packs that are deleted.
func (t *tenure) removed(gone map[*pack]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.lanes {
		if l == nil {
			continue
		}
		l.remove(gone)
		if l.full {
			signal(t.wake)
		}
		l.settle()
	}
}

// truncateEvery is the time between two attempts to free the space of deleted packs.
const truncateEvery = 5 * time.Second

func (t *tenure) truncateLoop(ctx context.Context) {
	for pace.Sleep(ctx, truncateEvery) {
		if lanes, _, _ := t.load(); lanes == 0 {
			continue
		}
		if _, err := t.cfg.Store.TruncateOutbox(ctx); err != nil && ctx.Err() == nil {
			t.log.limited(slog.LevelWarn, "the space of published messages can't be freed; retrying", "", "error", err)
		}
	}
}

// watchLoop looks for messages that are in flight for too long: the client retries without
// saying so.
func (t *tenure) watchLoop(ctx context.Context) {
	for pace.Sleep(ctx, t.cfg.StalledAfter/4) {
		_, inFlight, oldest := t.load()
		if inFlight == 0 || time.Since(oldest) < t.cfg.StalledAfter {
			t.vitals.over(&t.vitals.stalled)
			continue
		}
		err := errors.New("no broker has acknowledged them")
		if t.client != nil {
			if ping := t.ping(ctx); ping != nil {
				err = fmt.Errorf("no broker answers: %w", ping)
			}
		}
		t.vitals.failed(&t.vitals.stalled, reasonStalled, "", err)
		t.log.limited(slog.LevelError, "messages are not acknowledged; retrying", "", "in_flight", inFlight, "oldest", oldest, "error", err)
	}
}

func (t *tenure) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return t.client.Ping(ctx)
}
