package rollout

import (
	"flag"
	"math/rand/v2"
	"testing"
)

var (
	seedFlag   = flag.Uint64("rollout.seed", 0, "seed of the random choices; 0 means a random one")
	cyclesFlag = flag.Int("rollout.cycles", 1, "how often the group is rolled back and forward again")
)

func seed(t *testing.T) uint64 {
	t.Helper()
	s := *seedFlag
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("to repeat the random choices, use -rollout.seed %d", s)
	return s
}

// TestRoll rolls a group from version 1 to 2, back to 1, and to 2 again, under load and with
// kills. While all workers have version 1 again, what only version 2 can apply waits for it.
func TestRoll(t *testing.T) {
	t.Parallel()
	g := newGroup(t, seed(t))
	g.awaitRecords(perSecond / 2)
	forward := func() {
		stop := func() {}
		g.roll(2, func() {
			g.ledger.allow(true)
			stop = g.migrate(2)
		})
		g.awaitRecords(perSecond / 2)
		stop()
	}
	forward()
	for range *cyclesFlag {
		g.roll(1, nil)
		g.awaitRecords(perSecond / 2)
		forward()
	}
	g.finish(2)
}

// TestRollBackForGood rolls a group from version 1 to 2, and then to a version 3 that has the
// states of version 1, and migrates the rows back.
func TestRollBackForGood(t *testing.T) {
	t.Parallel()
	g := newGroup(t, seed(t))
	for version := 2; version <= 3; version++ {
		stop := func() {}
		g.roll(version, func() {
			g.ledger.allow(true)
			stop = g.migrate(version)
		})
		g.awaitRecords(perSecond / 2)
		stop()
	}
	g.finish(3)
}
