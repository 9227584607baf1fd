//go:build unix

package main

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// paid is a request that took effect once, and the answers to it.
func paid(answers ...answer) *entry {
	e := &entry{payment: payment{ID: "7", Wallet: "w", Amount: 5}}
	for _, a := range answers {
		e.got(a, false)
	}
	return e
}

func created(nonce, etag string) answer {
	return answer{status: http.StatusCreated, location: "/payments/" + nonce, etag: etag, body: "7 " + nonce}
}

// once is what the handlers have written for paid.
func once() effects {
	return effects{nonces: map[string][]string{"7": {"n"}}, balances: map[string]int64{"w": 5}}
}

// TestCompare checks that each violation of the promise is reported.
func TestCompare(t *testing.T) {
	t.Parallel()
	refused := func(e *entry) { e.payment.Refuse = true }
	for _, test := range []struct {
		name    string
		answers []answer
		change  func(*entry)
		found   func(*effects)
		want    string // a part of the violation; empty if there is none
	}{
		{name: "the promise holds", answers: []answer{created("n", "1"), created("n", "1")}},
		{name: "nobody got an answer"},
		{name: "a second step", found: func(f *effects) { f.nonces["7"] = []string{"n", "n"}; f.balances["w"] = 10 }, want: "took effect 2 times"},
		{name: "a second entity", found: func(f *effects) { f.nonces["7"] = []string{"n", "m"}; f.balances["w"] = 10 }, want: "took effect 2 times"},
		{name: "only the wallet moved twice", found: func(f *effects) { f.balances["w"] = 10 }, want: "w has 10, want 5"},
		{name: "the wallet did not move", found: func(f *effects) { delete(f.balances, "w") }, want: "w has 0, want 5"},
		{name: "no effect", answers: []answer{created("n", "1")}, found: func(f *effects) { *f = effects{} }, want: "no effect"},
		{name: "the answer of another effect", answers: []answer{created("m", "1")}, want: "not that of its effect"},
		{name: "the answer of another run", answers: []answer{created("n", "1"), created("n", "2")}, want: "was answered with"},
		{name: "a refusal with an effect", answers: []answer{{status: http.StatusPaymentRequired}}, change: refused, want: "was to be refused"},
		{name: "a refusal of what is legal", answers: []answer{{status: http.StatusPaymentRequired}}, want: "was answered with 402"},
		{name: "stuck", change: func(e *entry) { e.giveUp(errors.New("no response")) }, want: "no response"},
		{name: "an effect of nobody", found: func(f *effects) { f.nonces["8"] = []string{"x"} }, want: "key 8 took effect"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e, found := paid(test.answers...), once()
			if test.change != nil {
				test.change(e)
			}
			if test.found != nil {
				test.found(&found)
			}
			l := newLedger(1)
			l.entries[0] = e
			got := l.compare(found, &result{Handler: withStore})
			if test.want == "" && len(got) > 0 || test.want != "" && !slices.ContainsFunc(got, func(v string) bool { return strings.Contains(v, test.want) }) {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// TestLostResponses checks what may differ once a response is gone: only the run.
func TestLostResponses(t *testing.T) {
	t.Parallel()
	e := paid()
	for _, etag := range []string{"1", "1", "2"} {
		e.got(created("n", etag), true)
	}
	if len(e.wrong) > 0 || e.repeat != 2 || e.rebuilt != 1 {
		t.Errorf("%q, with %d repeats, %d of them rebuilt", e.wrong, e.repeat, e.rebuilt)
	}
	e.got(created("m", "3"), true)
	if len(e.wrong) != 1 {
		t.Errorf("%q, want one complaint about another effect", e.wrong)
	}
	l := newLedger(againEvery)
	for i := range l.entries {
		l.entries[i] = &entry{}
	}
	if got := l.compare(effects{}, &result{Handler: withStore}); len(got) != 1 || !strings.Contains(got[0], "want at least 1") {
		t.Errorf("%q, want a complaint that no response was lost", got)
	}
}

// TestSetUps checks which set-ups there are.
func TestSetUps(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		setUp setUp
		ok    bool
	}{
		{setUp{onHybrid, withTx, ""}, true},
		{setUp{onPostgres, withTx, plantForget}, true},
		{setUp{onPostgres, withStore, plantMessageID}, true},
		{setUp{onRedis, withStore, plantRefusal}, true},
		{setUp{onRedis, withTx, ""}, false},
		{setUp{onRedis, withStore, plantForget}, false},
		{setUp{onHybrid, withTx, plantAnswer}, false},
		{setUp{onHybrid, withStore, plantOutside}, false},
		{setUp{"memory", withStore, ""}, false},
		{setUp{onHybrid, "", ""}, false},
	} {
		if err := test.setUp.validate(); (err == nil) != test.ok {
			t.Errorf("%+v: %v", test.setUp, err)
		}
	}
}
