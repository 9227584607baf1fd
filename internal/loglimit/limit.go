package loglimit

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	limitBurst  = 3           // lines of a kind that are always logged
	limitWindow = time.Minute // then one line per window, until a window without any
)

// A Limiter lets only some of the lines of one kind be logged. The zero value has let none. It
// is safe for concurrent use.
type Limiter struct {
	mu    sync.Mutex
	kinds map[string]*lines
}

// lines counts the lines of one kind.
type lines struct {
	logged, last time.Time // when a line was last logged, and when one last occurred
	burst        int
	suppressed   int
}

// Log logs a line unless too many of its kind were logged. Lines with the same message and
// scope are of one kind.
func (l *Limiter) Log(log *slog.Logger, level slog.Level, msg, scope string, args ...any) {
	suppressed, isLast, ok := l.allow(msg + "\x00" + scope)
	if !ok {
		return
	}
	if suppressed > 0 {
		args = append(args, "suppressed", suppressed)
	}
	if isLast {
		args = append(args, "more_suppressed_for", limitWindow)
	}
	log.Log(context.Background(), level, msg, args...) //nolint:sloglint // the callers' messages are constant
}

// allow reports whether a line of this kind may be logged, how many were suppressed
// since the last one that was logged, and whether this is the last one for a window.
// Kinds are never forgotten, so they must be few: messages and topics, never the content
// of records.
func (l *Limiter) allow(kind string) (suppressed int, isLast, ok bool) {
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
