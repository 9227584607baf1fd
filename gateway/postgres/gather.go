package postgres

import "sync"

// A gatherer gathers what concurrent callers add into batches. An item that comes alone does
// not wait; while batches are worked on, the items that arrive gather into the next ones. A
// further batch begins beside others only once it is as large as they are on average: many
// small transactions cost more than few large ones.
type gatherer[T any] struct {
	work  func(batch []T)
	most  int         // batches at a time
	limit func(T) int // the size of an item
	room  int         // the size of a batch, unless it has one item

	mu       sync.Mutex
	running  int
	inFlight int // the items of the batches that are worked on
	queue    []T
}

// add adds items. It does not wait for them.
func (g *gatherer[T]) add(items ...T) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.queue = append(g.queue, items...)
	if g.running < g.most && len(g.queue)*g.running >= g.inFlight {
		g.running++
		go g.run()
	}
}

// later adds an item to the next batch, but does not begin one. It returns false if somebody
// must call add before long.
func (g *gatherer[T]) later(item T) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.queue = append(g.queue, item)
	return g.running > 0
}

func (g *gatherer[T]) run() {
	for batch := g.next(0); len(batch) > 0; batch = g.next(len(batch)) {
		g.work(batch)
	}
}

// next takes a batch from the queue, after one of done items. If there is none, the caller must
// end.
func (g *gatherer[T]) next(done int) []T {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inFlight -= done
	n, size := 0, 0
	for n < len(g.queue) {
		if size += g.limit(g.queue[n]); size > g.room && n > 0 {
			break
		}
		n++
	}
	if n == 0 {
		g.queue = nil
		g.running--
		return nil
	}
	batch := g.queue[:n:n]
	g.queue = g.queue[n:]
	g.inFlight += n
	return batch
}

// idle reports whether nothing is waiting.
func (g *gatherer[T]) idle() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.queue) == 0
}
