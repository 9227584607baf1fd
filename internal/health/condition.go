// Package health has what the health of a worker and that of a relay are computed from.
package health

import "time"

// A Condition is something that keeps a worker or a relay from its work, since some time and
// for a reason. The zero value does not hold.
type Condition struct { //nolint:recvcheck // Holds is for results of functions, too
	Since  time.Time // zero: the condition does not hold
	Reason string
	At     string // the partition or the topic; empty if the condition does not concern one
	Err    error
}

// Begin makes the condition hold. If it already does, its beginning stays the same.
func (c *Condition) Begin(reason, at string, err error) {
	if !c.Holds() {
		c.Since = time.Now()
	}
	c.Reason, c.At, c.Err = reason, at, err
}

// End makes the condition not hold.
func (c *Condition) End() { *c = Condition{} }

// Holds reports whether the condition holds.
func (c Condition) Holds() bool { return !c.Since.IsZero() }

// First returns the first condition that holds, or none.
func First(conditions ...Condition) Condition {
	for _, c := range conditions {
		if c.Holds() {
			return c
		}
	}
	return Condition{}
}
