package relay

import (
	"log/slog"

	"github.com/pawl-go/pawl/internal/loglimit"
)

// A logger logs a relay's troubles. It limits lines that can repeat in a loop. It is safe for
// concurrent use.
type logger struct {
	log    *slog.Logger
	limits loglimit.Limiter
}

// limited logs a line unless too many of its kind were logged. Lines with the same message and
// scope are of one kind.
func (l *logger) limited(level slog.Level, msg, scope string, args ...any) {
	l.limits.Log(l.log, level, msg, scope, args...)
}
