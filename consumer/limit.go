package consumer

import (
	"sync"
	"time"
)

const (
	limitBurst  = 3           // lines of a kind that are logged as they come
	limitWindow = time.Minute // then one each window, until a window without any
)

// A limiter keeps what happens in a loop from flooding the log. It is safe for
// concurrent use.
type limiter struct {
	mu    sync.Mutex
	kinds map[string]*lines
}

// lines are those of one kind.
type lines struct {
	logged, last time.Time // the last one that was logged, and the last one
	burst        int
	suppressed   int
}

// allow reports whether a line of this kind may be logged, how many were suppressed
// since the last one that was, and whether it is the last one for a window. Kinds are
// few: messages and topics, never anything out of a record.
func (l *limiter) allow(kind string) (suppressed int, isLast, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kinds == nil {
		l.kinds = make(map[string]*lines)
	}
	k := l.kinds[kind]
	if k == nil {
		k = new(lines)
		l.kinds[kind] = k
	}
	now := time.Now()
	if now.Sub(k.last) >= limitWindow {
		k.burst = 0
	}
	k.last = now
	if k.burst >= limitBurst && now.Sub(k.logged) < limitWindow {
		k.suppressed++
		return 0, false, false
	}
	k.burst++
	k.logged = now
	suppressed, k.suppressed = k.suppressed, 0
	return suppressed, k.burst >= limitBurst, true
}
