package demo

import (
	"context"
	"sync"
	"time"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/versioning"
)

// A tally counts a worker's verdicts. It is a consumer.BatchEndHook.
type tally struct {
	mu       sync.Mutex
	verdicts map[string]int
	records  int
	busy     time.Duration
}

func newTally() *tally { return &tally{verdicts: make(map[string]int)} }

// BatchEnd counts the verdicts of a batch.
func (t *tally) BatchEnd(_ context.Context, b consumer.Batch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range b.Outcomes {
		if o.Verdict == versioning.Undecided { // another worker has the record's partition now
			continue
		}
		t.verdicts[o.Verdict.String()]++
		t.records++
	}
	t.busy += b.Decode + b.Apply
}

// add adds another tally. Both workers must have stopped.
func (t *tally) add(other *tally) {
	for verdict, n := range other.verdicts {
		t.verdicts[verdict] += n
	}
	t.records += other.records
}

// perSecond returns the records per second of the time in which there was work.
func (t *tally) perSecond() float64 {
	if t.busy == 0 {
		return 0
	}
	return float64(t.records) / t.busy.Seconds()
}
