package postgres

import "strings"

// recent has the memos of a table by key: those of the last entities, and some older ones.
type recent struct {
	last, older map[string]*memo
	messages    int   // of the last ones
	trust       trust // in these
	trustAbsent trust // in that other entities do not exist
}

// After so many entities, or so many messages of them, the older memos are forgotten. Twice as many
// entities take 13 MB if keys have 36 bytes and entities a few messages, and 29 MB with the most
// messages.
const (
	generation         = 1 << 15
	generationMessages = 64 * generation
)

func (r *recent) of(key string) *memo {
	if known := r.last[key]; known != nil {
		return known
	}
	return r.older[key]
}

// put remembers an entity; nil forgets it.
func (r *recent) put(key string, known *memo) {
	if before := r.last[key]; before != nil {
		r.messages -= len(before.messages)
	}
	if known == nil {
		delete(r.last, key)
		delete(r.older, key)
		return
	}
	if len(r.last) >= generation || r.messages+len(known.messages) > generationMessages {
		r.last, r.older, r.messages = nil, r.last, 0
	}
	r.messages += len(known.messages)
	if r.last == nil {
		r.last = make(map[string]*memo)
	}
	if before := r.of(key); before != nil {
		key = before.key
	} else {
		key = strings.Clone(key) // it may be a part of something large
	}
	known.key = key
	r.last[key] = known
}

func (r *recent) forget() { r.last, r.older, r.messages = nil, nil, 0 }

// A trust says how often something may be relied on. The zero value says always.
type trust struct {
	doubt  int // how long to wait after the next failure, in transactions
	wait   int // transactions until it may be relied on again
	losses int // how often it was lost
}

const maxDoubt = 256

// ask reports whether a transaction may rely on it, and how often it was lost so far.
func (t *trust) ask() (losses int, ok bool) {
	if t.wait == 0 {
		return t.losses, true
	}
	t.wait--
	return t.losses, false
}

// lose is for a transaction that has relied on it in vain. What makes several fail at once
// counts once.
func (t *trust) lose(losses int) {
	if losses != t.losses {
		return
	}
	t.losses++
	t.doubt = min(2*t.doubt+2, maxDoubt)
	t.wait = t.doubt
}

func (t *trust) gain() { t.doubt /= 2 }
