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
	etag                  string // differs for each run of the handler
	body                  string
}

func (a answer) String() string {
	return fmt.Sprintf("%d %s %s %s %s", a.status, a.location, a.contentType, a.etag, a.body)
}

// An entry is what the ledger knows of a request.
type entry struct {
	payment payment

	mu      sync.Mutex
	first   *answer // what the first client got
	sends   int
	repeat  int      // complete answers after the first one
	rebuilt int      // those of them that another run of the handler has made
	wrong   []string // what contradicts the promise
	stuck   error    // nil, or why there is no response
}

type ledger struct {
	entries  []*entry
	answered atomic.Int64 // how often a client got the response of a request
	loses    bool         // stored responses may be lost, so that the handler runs again
}

func newLedger(n int) *ledger { return &ledger{entries: make([]*entry, n)} }

// got records an answer that may be stored. If stored responses may be lost, the answer may be
// that of another run, but must say the same.
func (e *entry) got(a answer, loses bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.first == nil {
		e.first = &a
		return
	}
	e.repeat++
	if loses && a.etag != e.first.etag {
		e.rebuilt++
		a.etag = e.first.etag
	}
	if a != *e.first {
		e.wrong = append(e.wrong, fmt.Sprintf("request %s was answered with %.160v and with %.160v", e.payment.ID, *e.first, a))
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
