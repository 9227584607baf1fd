package rollout

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/statemachine"
)

// A ledger makes the records, and keeps what each crate has been sent. Crates come in pairs:
// some records are about both. All records of a pair are in one partition.
type ledger struct {
	mu       sync.Mutex
	rng      *rand.Rand
	crates   map[string]*account
	pairs    []*pair // that are not closed
	made     int     // pairs
	messages int
	checks   bool // the event checked is allowed
	closing  bool // no more pairs
}

// An account is what a crate has been sent.
type account struct {
	messages []message // in their order
	weight   int64
}

type message struct {
	id     string
	event  statemachine.Event
	weight int64
	shared bool // the record is also about the other crate
}

type pair struct {
	keys    [2]string
	checked [2]bool
	left    int // records before it is closed
}

const pairsAtOnce = 40

// next returns the next records; none when all pairs are closed.
func (l *ledger) next(n int) (records []*kgo.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range n {
		if len(l.pairs) < pairsAtOnce && !l.closing {
			records = append(records, l.open())
			continue
		}
		if len(l.pairs) == 0 {
			return records
		}
		i := l.rng.IntN(len(l.pairs))
		p := l.pairs[i]
		if p.left--; p.left <= 0 {
			l.pairs[i] = l.pairs[len(l.pairs)-1]
			l.pairs = l.pairs[:len(l.pairs)-1]
			records = append(records, l.record(p, change{Key: p.keys[0], Event: "closed"}, change{Key: p.keys[1], Event: "closed"}))
			continue
		}
		records = append(records, l.step(p))
	}
	return records
}

func (l *ledger) open() *kgo.Record {
	l.made++
	p := &pair{left: 4 + l.rng.IntN(16)}
	for i, side := range []string{"a", "b"} {
		p.keys[i] = fmt.Sprintf("%05d%s", l.made, side)
		l.crates[p.keys[i]] = &account{}
	}
	l.pairs = append(l.pairs, p)
	return l.record(p, change{Key: p.keys[0], Event: "opened"}, change{Key: p.keys[1], Event: "opened"})
}

// step returns a record that does not close its pair.
func (l *ledger) step(p *pair) *kgo.Record {
	side := l.rng.IntN(2)
	key, weight := p.keys[side], 1+l.rng.Int64N(9)
	switch n := l.rng.IntN(12); {
	case n < 1 && l.checks && !p.checked[side]:
		p.checked[side] = true
		return l.record(p, change{Key: key, Event: "checked"})
	case n < 3:
		return l.record(p, change{Key: key, Event: "paused"})
	case n < 6:
		return l.record(p, change{key, "tied", weight}, change{p.keys[1-side], "tied", 10 * weight})
	}
	return l.record(p, change{key, "loaded", weight})
}

func (l *ledger) record(p *pair, changes ...change) *kgo.Record {
	l.messages++
	id := strconv.Itoa(l.messages)
	for _, c := range changes {
		a := l.crates[c.Key]
		a.messages = append(a.messages, message{id, c.Event, c.Weight, len(changes) > 1})
		a.weight += c.Weight
	}
	value, err := json.Marshal(changes)
	if err != nil {
		panic(err) // strings and numbers
	}
	return &kgo.Record{Key: []byte(p.keys[0]), Value: value, Headers: []kgo.RecordHeader{{Key: "ce_id", Value: []byte(id)}}}
}

// allow allows or forbids the event checked.
func (l *ledger) allow(checks bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.checks = checks
}

// close makes the producer close all pairs and end.
func (l *ledger) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closing = true
}

// produce produces records at a steady rate until all pairs are closed.
func (l *ledger) produce(ctx context.Context, t *testing.T, client *kgo.Client, perSecond int) {
	const ticks = 50
	tick := time.NewTicker(time.Second / ticks)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		records := l.next(perSecond / ticks)
		if len(records) == 0 {
			return
		}
		if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
			if ctx.Err() == nil {
				t.Errorf("produce: %v", err)
			}
			return
		}
	}
}
