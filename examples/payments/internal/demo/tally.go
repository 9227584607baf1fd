package demo

import (
	"context"
	"sync"

	"github.com/pawl-go/pawl/consumer"
)

// A tally counts a worker's verdicts. It is a consumer.BatchEndHook.
type tally struct {
	mu       sync.Mutex
	verdicts map[string]int
}

func newTally() *tally { return &tally{verdicts: make(map[string]int)} }

// BatchEnd counts the verdicts of a batch.
func (t *tally) BatchEnd(_ context.Context, b consumer.Batch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range b.Outcomes {
		t.verdicts[o.Verdict.String()]++
	}
}
