//go:build unix

package main

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// An answer is a response as a client sees it, without what each transmission has.
type answer struct {
	status                int
	location, contentType string
	body                  string
}

// An entry is what the ledger knows of a request.
type entry struct {
	payment payment

	mu     sync.Mutex
	first  *answer // what the first client got
	sends  int
	repeat int      // complete answers after the first one
	wrong  []string // what contradicts the promise
	stuck  error    // nil, or why there is no response
}

type ledger struct {
	entries  []*entry
	answered atomic.Int64 // how often a client got the response of a request
}

func newLedger(n int) *ledger { return &ledger{entries: make([]*entry, n)} }

// got records an answer that may be stored.
func (e *entry) got(a answer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.first == nil {
		e.first = &a
		return
	}
	e.repeat++
	if a != *e.first {
		e.wrong = append(e.wrong, fmt.Sprintf("request %s was answered with %.120v and with %.120v", e.payment.ID, *e.first, a))
	}
}

func (e *entry) complain(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.wrong = append(e.wrong, fmt.Sprintf("request %s: ", e.payment.ID)+fmt.Sprintf(format, args...))
}

func (e *entry) sent() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sends++
}

func (e *entry) giveUp(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stuck = err
}
