package main

import (
	"fmt"
	"sync"

	"github.com/pawl-go/pawl/statemachine"
)

// A place is a record's partition and offset.
type place struct {
	partition int32
	offset    int64
}

func (p place) String() string { return fmt.Sprintf("%d/%d", p.partition, p.offset) }

// An entry is a record that the broker has acknowledged.
type entry struct {
	sending

	at place
}

// A holding is the expected final state of an account.
type holding struct {
	steps int64
	state statemachine.State
}

// A ledger is what the producer knows: the acknowledged records, and the final
// state of the accounts once all are applied. Several goroutines may add
// entries; everything else is for one goroutine.
type ledger struct {
	accounts  map[string]holding
	transfers int

	mu      sync.Mutex
	entries []entry
	lost    []error // records that the broker did not acknowledge
}

func newLedger() *ledger { return &ledger{accounts: make(map[string]holding)} }

func (l *ledger) step(key string, state statemachine.State) {
	l.accounts[key] = holding{l.accounts[key].steps + 1, state}
}

func (l *ledger) add(s sending, at place, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.lost = append(l.lost, fmt.Errorf("produce %s: %w", s.id, err))
		return
	}
	l.entries = append(l.entries, entry{s, at})
}

// parked returns how many records must be parked at the end.
func (l *ledger) parked() (n int) {
	for i := range l.entries {
		if l.entries[i].fate == parked {
			n++
		}
	}
	return n
}
