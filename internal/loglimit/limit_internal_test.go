package loglimit

import (
	"testing"
	"testing/synctest"
	"time"
)

// The limiter allows the first few lines of a kind, then one a minute with the number of
// suppressed ones. After a minute without lines it starts over.
func TestLimiter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l Limiter
		logged, suppressed := 0, 0
		for range 3600 {
			if n, _, ok := l.allow("a"); ok {
				logged++
				suppressed += n
			}
			<-time.After(time.Second)
		}
		if logged < 60 || logged > 65 || logged+suppressed < 3540 {
			t.Errorf("%d lines in an hour, and %d accounted for as suppressed; want 62 and about 3540", logged, suppressed)
		}
		if _, _, ok := l.allow("b"); !ok {
			t.Error("one kind silences another")
		}
		<-time.After(limitWindow)
		for i := range limitBurst + 1 {
			if _, isLast, ok := l.allow("a"); ok != (i < limitBurst) || isLast != (i == limitBurst-1) {
				t.Errorf("line %d after a minute of silence: logged is %v", i, ok)
			}
		}
	})
}
