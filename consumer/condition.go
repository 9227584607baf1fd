package consumer

import "time"

// A condition is something that keeps a worker from consuming, since some time and for a
// reason.
type condition struct {
	since     time.Time // zero: the condition does not hold
	reason    string
	partition string
	err       error
}

// begin makes the condition hold. If it already does, its beginning stays the same.
func (c *condition) begin(reason, at string, err error) {
	if c.since.IsZero() {
		c.since = time.Now()
	}
	c.reason, c.partition, c.err = reason, at, err
}

// firstOf returns the first condition that holds, or none.
func firstOf(conditions ...condition) (c condition) {
	for _, c = range conditions {
		if !c.since.IsZero() {
			break
		}
	}
	return c
}
