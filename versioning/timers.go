package versioning

import "time"

// Fired is what one call of a store's FireTimers did.
type Fired struct {
	// Outcomes holds the records of the timers whose events have been settled, each with its
	// verdict: see [TimerRecord]. Ignored means that the timer no longer held.
	Outcomes []Settled

	// Released holds the previously parked records that were settled because an event of a
	// timer has moved their entity.
	Released []Settled

	// Next is when the next armed timer is due, by the clock of this process. It is zero if
	// none is known.
	Next time.Time

	// More reports whether other timers are due already.
	More bool
}

// TimerCounts are the numbers of armed timers. Those count too that no longer hold, because their
// entity has left the state: nothing is written when it does.
type TimerCounts struct {
	Pending int64 // not due yet
	Overdue int64 // due, but not fired yet

	// Oldest is when the first of the overdue timers was due. It is zero if none is overdue.
	// A timer that was armed when it was already due counts from then.
	Oldest time.Time

	// AtLeast reports whether there may be more timers than were counted.
	AtLeast bool
}
