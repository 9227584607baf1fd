package relay

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// logEvery is how often a line of one kind is logged.
const logEvery = time.Minute

// A logger logs a relay's troubles. It limits lines that can repeat in a loop. It is safe for
// concurrent use.
type logger struct {
	log *slog.Logger

	mu   sync.Mutex
	last map[string]time.Time // when a line of a kind was logged
	more map[string]int       // lines of a kind that were suppressed since
}

// limited logs a line unless one of its kind, with the same message and scope, was logged
// within the last minute. Kinds are never forgotten, so they must be few: messages and topics.
func (l *logger) limited(level slog.Level, msg, scope string, args ...any) {
	kind := msg + "\x00" + scope
	l.mu.Lock()
	if l.last == nil {
		l.last, l.more = make(map[string]time.Time), make(map[string]int)
	}
	if last, ok := l.last[kind]; ok && time.Since(last) < logEvery {
		l.more[kind]++
		l.mu.Unlock()
		return
	}
	if n := l.more[kind]; n > 0 {
		args = append(args, "suppressed", n)
	}
	l.last[kind], l.more[kind] = time.Now(), 0
	l.mu.Unlock()
	l.log.Log(context.Background(), level, msg, args...) //nolint:sloglint // the callers' messages are constant
}
