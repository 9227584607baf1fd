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
	database  string // its name
	leftovers bool   // of machines that no longer write to the outbox, when the store was opened

	held   [versioning.Lanes]atomic.Bool // by a relay through this store
	conn   atomic.Pointer[packConn]      // of this relay; nil if there is none
	mu     sync.Mutex                    // guards the fields below
	holder versioning.LaneHolder         // nil if there is none
	recent map[int64]recentPack          // packs that this store has committed to held lanes, by ID
	size   int                           // of their messages, in bytes
	swept  time.Time                     // when the old ones among them were last forgotten
}

// A recentPack is a committed pack that the relay need not read from the database.
type recentPack struct {
	versioning.PackRef

	messages []byte
	at       time.Time
}

// maxRecentBytes and maxRecentAge limit the packs in memory. The relay reads all others from
// the database. It may read and delete a pack there before that is offered here, so that
// nobody ever takes it. Such packs are forgotten after maxRecentAge, or sweepEvery later.
const (
	maxRecentBytes = 16 << 20
	maxRecentAge   = 10 * time.Second
	sweepEvery     = time.Second
)

// committed offers committed packs to the relay that holds their lanes.
func (o *outbox) committed(packs []*outPack) {
	if !slices.ContainsFunc(packs, func(p *outPack) bool { return o.held[p.Lane].Load() }) {
		return
	}
	o.mu.Lock()
	o.sweep()
	for _, p := range packs {
		o.forget(p.ID) // a restored database may give an ID again
		if o.held[p.Lane].Load() && o.size+len(p.messages) <= maxRecentBytes {
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

// sweep forgets the old packs.
func (o *outbox) sweep() {
	if time.Since(o.swept) < sweepEvery {
		return
	}
	o.swept = time.Now()
	for id, p := range o.recent {
		if time.Since(p.at) > maxRecentAge {
			o.forget(id)
		}
	}
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

// take returns the messages of a pack in memory. It forgets what it has with the ID: if the
// token is another one, that is a pack that no longer exists, and must not hide this one.
func (o *outbox) take(p versioning.PackRef) ([]byte, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	found, ok := o.recent[p.ID]
	if !ok {
		return nil, false
	}
	o.forget(p.ID)
	return found.messages, found.Token == p.Token
}

// deleted forgets packs that are deleted or replaced. If they are not, because the database has
// not answered, the relay reads them from the database.
func (o *outbox) deleted(packs []versioning.PackRef) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range packs {
		o.forget(packs[i].ID)
	}
}

// deletedTokens forgets the packs of a lane with one of the tokens.
func (o *outbox) deletedTokens(lane int, tokens []int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, p := range o.recent {
		if p.Lane == lane && slices.Contains(tokens, p.Token) {
			o.forget(id)
		}
	}
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
