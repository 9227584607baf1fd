package relay_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pawl-go/pawl/versioning"
)

// An outbox is an outbox in memory, which several stores share.
type outbox struct {
	mu      sync.Mutex
	packs   []versioning.Pack // in the order of their IDs
	next    int64
	version map[string]int64
	unsent  []versioning.Refused
	owner   [versioning.Lanes]*fake
	stores  []*fake
	damaged int64    // the ID of a pack that can't be read; 0 if there is none
	emitted []string // IDs, in the order in which they were emitted
}

func newOutbox() *outbox { return &outbox{version: make(map[string]int64)} }

// A fake is a store that a relay can use.
type fake struct {
	*outbox

	holder versioning.LaneHolder
	lost   chan struct{} // closed when the connection is lost
	stolen bool          // it has lost its lanes, and does not know

	hook func(call string) error // called before and after each call; guarded by mu
}

func (o *outbox) store() *fake { return &fake{outbox: o} }

// emit commits a pack with one message for each entity: the entity's next one. Each entity
// must be in the lane of the first one.
func (o *outbox) emit(topic string, entities ...string) {
	o.emitPack(nil, topic, entities...)
}

func (o *outbox) emitPack(change func(*versioning.Emitted), topic string, entities ...string) {
	o.mu.Lock()
	o.next++
	p := versioning.Pack{At: time.Now()}
	p.ID, p.Token, p.Lane = o.next, o.next*1000, laneOf(entities[0])
	for _, e := range entities {
		o.version[e]++
		m := versioning.Emitted{
			OutMessage: versioning.OutMessage{Topic: topic, Key: []byte(e), Value: fmt.Append(nil, e, " ", o.version[e])},
			Source:     "/fake", Entity: versioning.Entity{Machine: "m", Key: e}, Event: "did", Version: o.version[e], Time: time.Unix(1, 0),
		}
		if change != nil {
			change(&m)
		}
		o.emitted = append(o.emitted, m.ID())
		p.Messages, p.Size = append(p.Messages, m), p.Size+len(m.Value)+100
	}
	o.packs = append(o.packs, p)
	var holder versioning.LaneHolder
	if owner := o.owner[p.Lane]; owner != nil {
		holder = owner.holder
	}
	o.mu.Unlock()
	if holder != nil {
		holder.Wake()
	}
}

func laneOf(entity string) int {
	return versioning.LaneOf(versioning.Entity{Machine: "m", Key: entity})
}

// entitiesIn returns entities that are in a lane.
func entitiesIn(lane, n int) (entities []string) {
	for i := 0; len(entities) < n; i++ {
		if e := fmt.Sprint("e", i); laneOf(e) == lane {
			entities = append(entities, e)
		}
	}
	return entities
}

var (
	errLost    = errors.New("connection lost")
	errDamaged = errors.New("row is damaged")
)

// call runs a call of the store between the hook's.
func (f *fake) call(ctx context.Context, name string, do func() error) error {
	for _, when := range []string{"before ", "after "} {
		f.mu.Lock()
		hook := f.hook
		f.mu.Unlock()
		if hook != nil {
			if err := hook(when + name); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if when == "before " {
			f.mu.Lock()
			err := do()
			f.mu.Unlock()
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *fake) on(hook func(call string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = hook
}

// lose breaks the store's connection: others may take its lanes at once.
func (f *fake) lose() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for lane, owner := range f.owner {
		if owner == f {
			f.owner[lane] = nil
		}
	}
	f.stores = slices.DeleteFunc(f.stores, func(s *fake) bool { return s == f })
	if f.lost != nil {
		close(f.lost)
		f.lost = nil
	}
	f.stolen = false
}

func (f *fake) HoldLanes(ctx context.Context, h versioning.LaneHolder) error {
	if err := f.call(ctx, "HoldLanes", func() error { return nil }); err != nil {
		return err
	}
	f.mu.Lock()
	lost := make(chan struct{})
	f.holder, f.lost = h, lost
	f.stores = append(f.stores, f)
	f.mu.Unlock()
	h.Connected()
	for {
		f.balance(h)
		select {
		case <-lost:
			return errLost
		case <-ctx.Done():
			f.release(h, 0)
			f.mu.Lock()
			f.stores = slices.DeleteFunc(f.stores, func(s *fake) bool { return s == f })
			f.lost = nil
			f.mu.Unlock()
			return nil
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (f *fake) balance(h versioning.LaneHolder) {
	f.mu.Lock()
	share := (versioning.Lanes + len(f.stores) - 1) / max(1, len(f.stores))
	held := 0
	var take []int
	for lane, owner := range f.owner {
		if owner == f {
			held++
		}
		if owner == nil && f.lost != nil && !f.stolen {
			take = append(take, lane)
		}
	}
	take = take[:max(0, min(len(take), share-held))]
	for _, lane := range take {
		f.owner[lane] = f
	}
	f.mu.Unlock()
	for _, lane := range take {
		h.Take(lane)
	}
	if held > share {
		f.release(h, share)
	}
}

func (f *fake) release(h versioning.LaneHolder, keep int) {
	f.mu.Lock()
	var lanes []int
	for lane, owner := range f.owner {
		if owner == f {
			lanes = append(lanes, lane)
		}
	}
	f.mu.Unlock()
	for _, lane := range lanes[min(keep, len(lanes)):] {
		h.Release(lane)
		f.mu.Lock()
		if f.owner[lane] == f {
			f.owner[lane] = nil
		}
		f.mu.Unlock()
	}
}

func (f *fake) Packs(ctx context.Context, want []versioning.Wanted) (found []versioning.Pack, err error) {
	var damaged error
	err = f.call(ctx, "Packs", func() error {
		for _, w := range want {
			bytes := 0
			for _, p := range f.packs {
				if p.Lane == w.Lane && p.ID == f.damaged {
					damaged = &versioning.Error{Cause: versioning.Data, Err: errDamaged}
					break
				}
				if p.Lane != w.Lane || slices.Contains(w.Has, p.ID) || bytes > 0 && bytes >= w.Bytes {
					continue
				}
				p.Messages = slices.Clone(p.Messages)
				found, bytes = append(found, p), bytes+p.Size
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, damaged
}

func (f *fake) DeletePacks(ctx context.Context, packs []versioning.PackRef, durable bool) error {
	return f.call(ctx, "DeletePacks", func() error {
		f.delete(func(p versioning.PackRef) bool {
			before := p
			before.Token--
			return slices.Contains(packs, p) || durable && slices.Contains(packs, before)
		})
		return nil
	})
}

func (f *fake) DeleteTokens(ctx context.Context, lane int, tokens []int64) (n int, err error) {
	err = f.call(ctx, "DeleteTokens", func() error {
		n = f.delete(func(p versioning.PackRef) bool {
			return p.Lane == lane && (slices.Contains(tokens, p.Token) || slices.Contains(tokens, p.Token-1))
		})
		return nil
	})
	return n, err
}

func (f *fake) delete(which func(versioning.PackRef) bool) int {
	before := len(f.packs)
	f.packs = slices.DeleteFunc(f.packs, func(p versioning.Pack) bool { return which(p.PackRef) })
	return before - len(f.packs)
}

func (f *fake) RefuseMessages(ctx context.Context, ref versioning.PackRef, refused []versioning.Refused, rest []versioning.Emitted) (left versioning.Pack, ok bool, err error) {
	err = f.call(ctx, "RefuseMessages", func() error {
		for i := range f.packs {
			p := &f.packs[i]
			if p.PackRef != ref {
				continue
			}
			ok = true
			f.unsent = append(f.unsent, refused...)
			p.Messages, p.Token = slices.Clone(rest), p.Token+1
			left = *p
			if len(rest) == 0 {
				f.packs = slices.Delete(f.packs, i, i+1)
			}
			return nil
		}
		return nil
	})
	return left, ok, err
}

func (f *fake) TruncateOutbox(context.Context) (int, error) { return 0, nil }

// refusals returns the unsent messages as "entity version reason".
func (o *outbox) refusals() (all []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, u := range o.unsent {
		all = append(all, fmt.Sprint(u.Entity.Key, " ", u.Version, " ", u.Reason))
	}
	return all
}

// awaitEmpty waits until everything is published.
func (o *outbox) awaitEmpty(t *testing.T) {
	t.Helper()
	await(t, 10*time.Minute, func() error {
		o.mu.Lock()
		defer o.mu.Unlock()
		if n := len(o.packs); n > 0 {
			return fmt.Errorf("the outbox has %d packs", n)
		}
		return nil
	})
}

// await waits for a condition, in the bubble's fake time.
func await(t *testing.T, within time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", within, err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// steal frees the store's lanes without a word to its relay.
func (f *fake) steal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for lane, owner := range f.owner {
		if owner == f {
			f.owner[lane] = nil
		}
	}
	f.stores = slices.DeleteFunc(f.stores, func(s *fake) bool { return s == f })
	f.stolen = true
}
