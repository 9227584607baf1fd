package postgres

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pawl-go/pawl/versioning"
)

// This file keeps packs that this process has just committed, so that its relay need not read
// them. The database still decides which packs there are and in which order.

// An outbox is what a store knows about its outbox. It is shared by the store's snapshots,
// and safe for concurrent use.
type outbox struct {
	database string // its name

	held   [versioning.Lanes]atomic.Bool // by a relay through this store
	mu     sync.Mutex                    // guards the fields below
	holder versioning.LaneHolder         // nil if there is none
	recent map[int64]recentPack          // packs that this store has committed to held lanes, by ID
	size   int                           // of their messages, in bytes
}

// A recentPack is a committed pack that the relay need not read from the database.
type recentPack struct {
	versioning.PackRef

	messages []byte
	at       time.Time
}

// maxRecentBytes limits the packs in memory. The relay reads those beyond it from the database.
// A pack stays in memory if the relay has read it before it was offered, so those that are older
// than maxRecentAge make room for new ones.
const (
	maxRecentBytes = 16 << 20
	maxRecentAge   = 10 * time.Second
)

// committed offers committed packs to the relay that holds their lanes.
func (o *outbox) committed(packs []*outPack) {
	if !slices.ContainsFunc(packs, func(p *outPack) bool { return o.held[p.Lane].Load() }) {
		return
	}
	o.mu.Lock()
	for _, p := range packs {
		if o.held[p.Lane].Load() && o.hasRoom(len(p.messages)) {
			if o.recent == nil {
				o.recent = make(map[int64]recentPack)
			}
			o.recent[p.ID] = recentPack{p.PackRef, p.messages, time.Now()}
			o.size += len(p.messages)
		}
	}
	holder := o.holder
	o.mu.Unlock()
	if holder != nil {
		holder.Wake()
	}
}

// hasRoom reports whether so many bytes fit, and makes room for them if it can.
func (o *outbox) hasRoom(bytes int) bool {
	if o.size+bytes > maxRecentBytes {
		for id, p := range o.recent {
			if time.Since(p.at) > maxRecentAge {
				o.forget(id)
			}
		}
	}
	return o.size+bytes <= maxRecentBytes
}

func (o *outbox) forget(id int64) {
	o.size -= len(o.recent[id].messages)
	delete(o.recent, id)
}

// recentIDs returns the IDs of the packs in memory that are in the wanted lanes.
func (o *outbox) recentIDs(want []versioning.Wanted) (ids []int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, p := range o.recent {
		if slices.ContainsFunc(want, func(w versioning.Wanted) bool { return w.Lane == p.Lane }) {
			ids = append(ids, id)
		}
	}
	return ids
}

// take returns the messages of a pack in memory, and forgets it.
func (o *outbox) take(p versioning.PackRef) ([]byte, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	found, ok := o.recent[p.ID]
	if !ok || found.Token != p.Token {
		return nil, false
	}
	o.forget(p.ID)
	return found.messages, true
}

// hold records that the holder holds a lane, or no longer does.
func (o *outbox) hold(lane int, held bool) {
	o.held[lane].Store(held)
	if held {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, p := range o.recent {
		if p.Lane == lane {
			o.forget(id)
		}
	}
}

// errHeld says that a store already has a relay.
var errHeld = errors.New("the store already has a relay; one is enough")

// attach makes the holder the store's relay.
func (o *outbox) attach(h versioning.LaneHolder) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.holder != nil {
		return errHeld
	}
	o.holder = h
	return nil
}

func (o *outbox) detach() {
	for lane := range o.held {
		o.hold(lane, false)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.holder = nil
}
