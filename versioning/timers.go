package versioning

import "time"

// Fired is what one call of a store's FireTimers did.
type Fired struct {
	// Outcomes holds the records of the timers whose events have been settled, each with its
	// verdict: see [TimerRecord]. Ignored means that the timer no longer held.
	Outcomes []Settled

	// Next is when the next armed timer is due, by the clock of this process. It is zero if
	// none is known.
	Next time.Time

	// More reports whether other timers are due already.
	More bool
}
