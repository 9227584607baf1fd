package versioningtest

import (
	"context"
	"errors"
	"math"
	"slices"

	"github.com/pawl-go/pawl/versioning"
)

// source is the source of the messages of a store in memory.
const source = "/memory"

// This file makes Memory a store for package relay. The outbox is a part of the database. The
// lanes are not: when a backup is restored, all their holders lose them.

// lanes are the lanes of the outbox and who holds them.
type lanes struct {
	holders []*laneHolder // in the order in which they came
	owners  [versioning.Lanes]*laneHolder
	changed chan struct{} // closed when holders or owners have changed; nil if nobody waits
	tokens  int64         // the last token of a pack
}

type laneHolder struct {
	versioning.LaneHolder

	lost chan struct{} // closed when the holder has lost its lanes
}

// errLanesLost is the error of HoldLanes after LoseLanes.
var errLanesLost = errors.New("the lanes of the outbox were lost")

// pack adds messages that one transaction has emitted to the outbox: a pack for each lane.
func (m *Memory) pack(messages []Message) {
	var packs [versioning.Lanes]versioning.Pack
	for i := range messages {
		from := &messages[i]
		p := &packs[versioning.LaneOf(from.Entity)]
		p.Size += len(from.Key) + len(from.Value)
		p.Messages = append(p.Messages, versioning.Emitted{
			OutMessage: from.OutMessage, Source: source,
			Entity: from.Entity, Event: from.Event, Version: from.Version, Index: from.Index, Time: from.Time,
		})
	}
	for lane := range packs {
		p := &packs[lane]
		if len(p.Messages) == 0 {
			continue
		}
		m.lastPack++
		m.lanes.tokens += 1000 // RefuseMessages counts up from here
		p.PackRef, p.At = versioning.PackRef{ID: m.lastPack, Token: m.lanes.tokens, Lane: lane}, m.now()
		m.packs = append(m.packs, *p)
	}
}

// wake tells the holders of lanes that there may be packs.
func (m *Memory) wake() {
	m.mu.Lock()
	var awake []*laneHolder
	for _, p := range m.packs {
		if owner := m.lanes.owners[p.Lane]; owner != nil && !slices.Contains(awake, owner) {
			awake = append(awake, owner)
		}
	}
	m.mu.Unlock()
	for _, h := range awake {
		h.Wake()
	}
}

// Emits reports whether a machine of the store has functions, which may emit messages.
func (m *Memory) Emits() bool { return len(m.codecs) > 0 }

// HoldLanes holds lanes of the outbox for a relay until ctx is canceled: as many as are its
// share. After LoseLanes or Restore it returns an error.
func (m *Memory) HoldLanes(ctx context.Context, h versioning.LaneHolder) error {
	me := &laneHolder{h, make(chan struct{})}
	m.mu.Lock()
	m.lanes.holders = append(m.lanes.holders, me)
	m.lanes.change()
	m.mu.Unlock()
	h.Connected()
	for {
		changed := m.takeShare(me)
		select {
		case <-me.lost:
			return errLanesLost
		case <-ctx.Done():
			m.mu.Lock()
			m.lanes.holders = slices.DeleteFunc(m.lanes.holders, func(other *laneHolder) bool { return other == me })
			m.mu.Unlock()
			m.release(me, 0)
			return nil
		case <-changed:
		}
	}
}

// takeShare takes or releases lanes, until the holder has its share. The result is closed when
// the share may be another one.
func (m *Memory) takeShare(me *laneHolder) (changed <-chan struct{}) {
	m.mu.Lock()
	if m.lanes.changed == nil {
		m.lanes.changed = make(chan struct{})
	}
	changed = m.lanes.changed
	share := math.MaxInt
	if n := len(m.lanes.holders); n > 0 {
		share = (versioning.Lanes + n - 1) / n
	}
	var taken []int
	left := share - len(m.lanes.of(me))
	for lane, owner := range m.lanes.owners {
		if owner == nil && left > 0 && slices.Contains(m.lanes.holders, me) {
			m.lanes.owners[lane] = me
			taken, left = append(taken, lane), left-1
		}
	}
	m.mu.Unlock()
	for _, lane := range taken {
		me.Take(lane)
	}
	m.release(me, share)
	return changed
}

// release releases the lanes of a holder that exceed its share.
func (m *Memory) release(me *laneHolder, share int) {
	m.mu.Lock()
	held := m.lanes.of(me)
	m.mu.Unlock()
	for _, lane := range held[min(share, len(held)):] {
		me.Release(lane)
		m.mu.Lock()
		if m.lanes.owners[lane] == me { // otherwise it was lost meanwhile
			m.lanes.owners[lane] = nil
		}
		m.lanes.change()
		m.mu.Unlock()
	}
}

// of returns the lanes of a holder.
func (l *lanes) of(h *laneHolder) (held []int) {
	for lane, owner := range l.owners {
		if owner == h {
			held = append(held, lane)
		}
	}
	return held
}

// change wakes those who wait for a change.
func (l *lanes) change() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// lose takes all lanes from a holder.
func (l *lanes) lose(h *laneHolder) {
	for lane, owner := range l.owners {
		if owner == h {
			l.owners[lane] = nil
		}
	}
	l.holders = slices.DeleteFunc(l.holders, func(other *laneHolder) bool { return other == h })
	close(h.lost)
	l.change()
}

// LoseLanes takes the lanes away from a holder, as when its connection breaks or its process
// dies: others may take them at once, although it does not know.
func (m *Memory) LoseLanes(h versioning.LaneHolder) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, holder := range slices.Clone(m.lanes.holders) {
		if holder.LaneHolder == h {
			m.lanes.lose(holder)
		}
	}
}

// Packs returns the first packs of lanes, in their order.
func (m *Memory) Packs(ctx context.Context, want []versioning.Wanted) (found []versioning.Pack, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range want {
		size, some := 0, false
		for _, p := range m.packs {
			if p.Lane != w.Lane || slices.Contains(w.Has, p.ID) {
				continue
			}
			if some && size >= w.Bytes {
				break
			}
			p.Messages = slices.Clone(p.Messages)
			found, size, some = append(found, p), size+p.Size, true
		}
	}
	return found, nil
}

// DeletePacks deletes packs that are published. A durable deletion includes what RefuseMessages
// has left of a pack.
func (m *Memory) DeletePacks(ctx context.Context, packs []versioning.PackRef, durable bool) error {
	_, err := m.deletePacks(ctx, func(p *versioning.Pack) bool {
		split := p.PackRef
		split.Token--
		return slices.Contains(packs, p.PackRef) || durable && slices.Contains(packs, split)
	})
	return err
}

// DeleteTokens deletes the packs of a lane that have one of the tokens, and what RefuseMessages
// has left of such packs.
func (m *Memory) DeleteTokens(ctx context.Context, lane int, tokens []int64) (int, error) {
	return m.deletePacks(ctx, func(p *versioning.Pack) bool {
		return p.Lane == lane && (slices.Contains(tokens, p.Token) || slices.Contains(tokens, p.Token-1))
	})
}

func (m *Memory) deletePacks(ctx context.Context, which func(*versioning.Pack) bool) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	before := len(m.packs)
	m.packs = slices.DeleteFunc(m.packs, func(p versioning.Pack) bool { return which(&p) })
	return before - len(m.packs), nil
}

// RefuseMessages makes messages of a pack unsent messages, and leaves the rest of the pack in
// its place, as the pack that it returns. If the pack no longer exists, ok is false.
func (m *Memory) RefuseMessages(ctx context.Context, pack versioning.PackRef, refused []versioning.Refused, rest []versioning.Emitted) (left versioning.Pack, ok bool, err error) {
	if err := ctx.Err(); err != nil {
		return versioning.Pack{}, false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	at := slices.IndexFunc(m.packs, func(p versioning.Pack) bool { return p.PackRef == pack })
	if at < 0 {
		return versioning.Pack{}, false, nil
	}
	for _, r := range refused {
		r.Attempts++
		m.unsent = append(m.unsent, versioning.UnsentMessage{Refused: r, ID: int64(len(m.unsent) + 1), DiedAt: m.now()})
	}
	if len(rest) == 0 {
		m.packs = slices.Delete(m.packs, at, at+1)
		return versioning.Pack{PackRef: pack}, true, nil
	}
	m.packs[at].Token++
	m.packs[at].Messages = slices.Clone(rest)
	return m.packs[at], true, nil
}

// TruncateOutbox does nothing: a store in memory has no space to free.
func (m *Memory) TruncateOutbox(ctx context.Context) (int, error) { return 0, ctx.Err() }

// OutboxDepth returns what the outbox contains.
func (m *Memory) OutboxDepth(ctx context.Context) (d versioning.OutboxDepth, err error) {
	if err := ctx.Err(); err != nil {
		return versioning.OutboxDepth{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	d.Packs, d.Unsent = int64(len(m.packs)), int64(len(m.unsent))
	for _, p := range m.packs {
		d.Messages += int64(len(p.Messages))
		if d.Oldest.IsZero() || p.At.Before(d.Oldest) {
			d.Oldest = p.At
		}
	}
	if d.Packs > 0 {
		d.Age = max(0, m.now().Sub(d.Oldest))
	}
	return d, nil
}

// Unsent returns the messages that could not be published, the oldest first.
func (m *Memory) Unsent() []versioning.UnsentMessage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.unsent)
}
