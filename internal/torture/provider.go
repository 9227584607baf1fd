package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"
)

// A provider takes money. It listens in the process of the test, so it survives the workers, and
// its ledger survives every server. Half of the first requests about a charge go wrong: nothing
// is done, or it is done and the answer is lost.
//
// It does a charge once for a key. It does a fee as often as it is told to, but can be asked.
type provider struct {
	server *http.Server
	url    string
	ended  chan error

	mu    sync.Mutex
	books map[tenant]*accountsOf
}

// accountsOf is what the provider has done for a tenant.
type accountsOf struct {
	deals     []deal // in their order
	requests  map[string]int
	calls     int // requests for a charge or a fee
	questions int
	faults    int
	conflicts []string // keys that were used for different charges
}

// A deal is a charge or a fee that the provider has taken, or declined.
type deal struct {
	asked

	At time.Time // when it was done
}

// asked is what a request asks for.
type asked struct {
	Kind    string    `json:"kind"`
	Key     string    `json:"key"`
	Entity  string    `json:"entity"`
	Amount  int64     `json:"amount"`
	Fetched time.Time `json:"fetched"` // when River fetched the job for this attempt
}

// receiptOf returns the provider's receipt for a key.
func receiptOf(key string) string { return "receipt-" + key }

func startProvider(ctx context.Context) (*provider, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the provider: %w", err)
	}
	p := &provider{url: "http://" + listener.Addr().String(), ended: make(chan error, 1), books: make(map[tenant]*accountsOf)}
	for _, t := range tenants {
		p.books[t] = &accountsOf{requests: make(map[string]int)}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{tenant}/{kind}", p.take)
	mux.HandleFunc("GET /{tenant}/{kind}/{key}", p.tell)
	p.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { p.ended <- p.server.Serve(listener) }()
	return p, nil
}

func (p *provider) close() error {
	err := p.server.Close()
	if ended := <-p.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err //nolint:wrapcheck // it needs no context
}

// take takes a charge or a fee.
func (p *provider) take(w http.ResponseWriter, r *http.Request) {
	var a asked
	body, err := io.ReadAll(r.Body) // all of it, so that the context ends when the client is gone
	if err == nil {
		err = json.Unmarshal(body, &a)
	}
	book := p.books[tenant(r.PathValue("tenant"))]
	if err != nil || book == nil || a.Kind != r.PathValue("kind") || a.Key == "" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	book.calls++
	p.mu.Unlock()
	p.fail(w, r, book, a.Key, func(w http.ResponseWriter) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if !book.take(a) {
			w.WriteHeader(http.StatusUnprocessableEntity)
			return
		}
		_, _ = io.WriteString(w, receiptOf(a.Key)) // the client may be gone
	})
}

// take does what is asked for. ok is false if the key was used for something else.
func (b *accountsOf) take(a asked) (ok bool) {
	for _, d := range b.deals {
		if d.Key != a.Key {
			continue
		}
		if d.Kind != a.Kind || d.Entity != a.Entity || d.Amount != a.Amount {
			b.conflicts = append(b.conflicts, a.Key)
			return false
		}
		if a.Kind == (charge{}).Kind() {
			return true
		}
	}
	b.deals = append(b.deals, deal{a, time.Now()})
	return true
}

// tell says whether there is a charge or a fee with a key.
func (p *provider) tell(w http.ResponseWriter, r *http.Request) {
	book, key := p.books[tenant(r.PathValue("tenant"))], r.PathValue("key")
	if book == nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	book.questions++
	p.mu.Unlock()
	p.fail(w, r, book, key, func(w http.ResponseWriter) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, d := range book.deals {
			if d.Key == key {
				_, _ = io.WriteString(w, receiptOf(d.Key)) // the client may be gone
				return
			}
		}
		w.WriteHeader(http.StatusNotFound)
	})
}

// patience is how long the workers wait for the provider.
const patience = time.Second

// fail does what a request asks for, unless it goes wrong. Only the first two requests with a key
// do.
func (p *provider) fail(w http.ResponseWriter, r *http.Request, b *accountsOf, key string, do func(http.ResponseWriter)) {
	p.mu.Lock()
	first := b.requests[key] < 2
	b.requests[key]++
	dice := rand.IntN(100)
	if !first {
		dice = 99
	}
	if dice < 50 {
		b.faults++
	}
	p.mu.Unlock()
	switch {
	case dice < 8:
		w.WriteHeader(http.StatusInternalServerError)
	case dice < 16:
		do(nowhere{})
		w.WriteHeader(http.StatusBadGateway)
	case dice < 24:
		<-r.Context().Done() // no answer in time
	case dice < 32:
		do(nowhere{})
		<-r.Context().Done()
	case dice < 42:
		do(nowhere{})
		panic(http.ErrAbortHandler) // closes the connection
	case dice < 50:
		if sleep(r.Context(), patience/4) {
			do(w)
		}
	default:
		do(w)
	}
}

// nowhere is the ResponseWriter of an answer that is never sent.
type nowhere struct{}

func (nowhere) Header() http.Header         { return make(http.Header) }
func (nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (nowhere) WriteHeader(int)             {}

// book returns what the provider has done for a tenant. The workers must have ended.
func (p *provider) book(t tenant) accountsOf {
	p.mu.Lock()
	defer p.mu.Unlock()
	return *p.books[t]
}
