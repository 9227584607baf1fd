//go:build unix

package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

// A result is the last line of the output.
type result struct {
	OK           bool           `json:"ok"`
	Backend      string         `json:"backend"`
	Handler      string         `json:"handler"`
	Plant        string         `json:"plant,omitempty"`
	Requests     int            `json:"requests"`
	Sends        int            `json:"sends"`   // by the clients
	Repeats      int            `json:"repeats"` // answers that were compared with the first one
	Rebuilt      int            `json:"rebuilt"` // repeats that another run has answered
	Effects      int            `json:"effects"`
	Refused      int            `json:"refused"`
	Twice        int            `json:"twice"` // requests that took effect more than once
	Lost         int            `json:"lost"`  // requests with a response but without effect
	Different    int            `json:"different"`
	Stuck        int            `json:"stuck"`
	LocksLeft    int            `json:"locks_left"`
	Faults       map[string]int `json:"faults"`
	Seconds      float64        `json:"seconds"`
	AgainSeconds float64        `json:"again_seconds"`
	Seed         uint64         `json:"seed"`
}

// effects are what the handlers have written.
type effects struct {
	nonces   map[string][]string // by request
	balances map[string]int64    // by wallet
}

// check compares the ledger with what the handlers have written.
func (t *torture) check(ctx context.Context, l *ledger, r *result) (violations []string, err error) {
	found, err := t.effects(ctx)
	if err != nil {
		return nil, err
	}
	violations = l.compare(found, r)
	if r.LocksLeft, err = t.locksLeft(ctx); err != nil {
		return nil, err
	}
	if r.LocksLeft > 0 {
		violations = append(violations, fmt.Sprintf("%d keys are locked although nothing runs", r.LocksLeft))
	}
	for name, happened := range r.Faults {
		if happened == 0 {
			violations = append(violations, "the fault did not happen: "+name)
		}
	}
	return violations, nil
}

// compare returns what contradicts the promise.
func (l *ledger) compare(found effects, r *result) (violations []string) {
	wallets := make(map[string]int64)
	sent := make(map[string]bool)
	r.Requests = len(l.entries)
	for _, e := range l.entries {
		nonces := found.nonces[e.payment.ID]
		r.Sends += e.sends
		r.Repeats += e.repeat
		r.Rebuilt += e.rebuilt
		r.Effects += len(nonces)
		violations = append(violations, e.judge(nonces, r)...)
		wallets[e.payment.Wallet] += e.payment.Amount * int64(len(nonces))
		sent[e.payment.ID] = true
	}
	for key := range found.nonces {
		if !sent[key] {
			violations = append(violations, fmt.Sprintf("key %s took effect, and nobody has sent it", key))
		}
	}
	if r.Handler != withStore {
		return violations
	}
	for wallet, want := range wallets {
		if got := found.balances[wallet]; got != want {
			violations = append(violations, fmt.Sprintf("%s has %d, want %d, which is what its payments have", wallet, got, want))
		}
	}
	if least := len(l.entries) / againEvery; r.Rebuilt < least {
		violations = append(violations, fmt.Sprintf("%d answers were made again after their response was gone, want at least %d", r.Rebuilt, least))
	}
	return violations
}

// judge returns what contradicts the promise for one request, whose effects have the nonces.
func (e *entry) judge(nonces []string, r *result) []string {
	violations := e.wrong
	r.Different += len(e.wrong)
	say := func(format string, args ...any) {
		violations = append(violations, fmt.Sprintf("request %s: ", e.payment.ID)+fmt.Sprintf(format, args...))
	}
	if len(nonces) > 1 {
		r.Twice++
		say("took effect %d times", len(nonces))
	}
	if e.stuck != nil {
		r.Stuck++
		say("%v", e.stuck)
	}
	switch {
	case e.first == nil:
	case e.payment.Refuse:
		r.Refused++
		if e.first.status != http.StatusPaymentRequired || len(nonces) > 0 {
			say("was to be refused, was answered with %d, and took effect %d times", e.first.status, len(nonces))
		}
	case e.first.status != http.StatusCreated:
		say("was answered with %d", e.first.status)
	case len(nonces) == 0:
		r.Lost++
		say("has a response and no effect")
	case !strings.Contains(e.first.body, nonces[0]) || !strings.HasSuffix(e.first.location, nonces[0]):
		say("its response is not that of its effect")
	}
	return violations
}
