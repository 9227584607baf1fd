package provider

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"time"
)

// A Fault is something that goes wrong with a request.
type Fault struct {
	Name  string
	Share float64 // of the first requests about a charge or refund; of the second ones, half as many
	Does  string  // what the provider has done

	strike func(w http.ResponseWriter, r *http.Request, do http.HandlerFunc)
}

// Faults lists all faults. The third request about a charge or refund has none.
var Faults = []Fault{
	{"status 500", 0.02, "nothing was done", func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
		w.WriteHeader(http.StatusInternalServerError)
	}},
	{"status 502, after the work", 0.01, "it was done", func(w http.ResponseWriter, r *http.Request, do http.HandlerFunc) {
		do(discard{}, r)
		w.WriteHeader(http.StatusBadGateway)
	}},
	{"status 429, Retry-After: 1", 0.0005, "nothing was done", func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	}},
	{"no answer in time", 0.005, "nothing was done", func(_ http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
		wait(r.Context(), time.Minute)
	}},
	{"no answer in time, after the work", 0.005, "it was done", func(_ http.ResponseWriter, r *http.Request, do http.HandlerFunc) {
		do(discard{}, r)
		wait(r.Context(), time.Minute)
	}},
	{"a lost answer", 0.02, "it was done", func(_ http.ResponseWriter, r *http.Request, do http.HandlerFunc) {
		do(discard{}, r)
		panic(http.ErrAbortHandler) // closes the connection
	}},
	{"a slow answer", 0.03, "it was done", func(w http.ResponseWriter, r *http.Request, do http.HandlerFunc) {
		wait(r.Context(), 200*time.Millisecond)
		do(w, r)
	}},
}

// faultOf returns the fault that strikes a request, or nil. The first requests of all get one
// fault each, so that even the smallest run shows all faults.
func (p *Provider) faultOf(about string) *Fault {
	all, same := p.book.arrive(about)
	switch {
	case !p.cfg.Faults || same > 1:
		return nil
	case all < len(Faults):
		return &Faults[all]
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %d", about, same)
	chance := rand.New(rand.NewPCG(p.cfg.Seed, h.Sum64())).Float64() * float64(1+same)
	for i := range Faults {
		if chance -= Faults[i].Share; chance < 0 {
			return &Faults[i]
		}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// discard is the ResponseWriter of an answer that is never sent.
type discard struct{}

func (discard) Header() http.Header         { return make(http.Header) }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}
