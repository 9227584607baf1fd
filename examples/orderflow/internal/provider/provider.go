package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/shopspring/decimal"
)

// A Config configures a provider.
type Config struct {
	// Faults makes the provider as unreliable as they are.
	Faults bool

	// Seed chooses the requests that faults strike.
	Seed uint64
}

// A Provider is a payment provider.
type Provider struct {
	cfg    Config
	book   *book
	server *http.Server
	stop   context.CancelFunc
	url    string
	ended  chan error
}

// Start starts a provider on an address, such as 127.0.0.1:0. The caller must close it.
func Start(ctx context.Context, address string, cfg Config) (*Provider, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("start the payment provider on %s: %w", address, err)
	}
	requests, stop := context.WithCancel(context.WithoutCancel(ctx))
	p := &Provider{cfg: cfg, book: newBook(), stop: stop, url: "http://" + listener.Addr().String(), ended: make(chan error, 1)}
	p.server = &http.Server{
		Handler: p.handler(), ReadHeaderTimeout: 5 * time.Second,
		BaseContext: func(net.Listener) context.Context { return requests },
	}
	go func() { p.ended <- p.server.Serve(listener) }()
	return p, nil
}

// URL returns the address of the provider's API.
func (p *Provider) URL() string { return p.url }

// Ledger returns what the provider has done so far.
func (p *Provider) Ledger() Ledger { return p.book.copy() }

// Wait waits until ctx is done or the provider has failed.
func (p *Provider) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-p.ended:
		p.ended <- err
		return err
	}
}

// Close stops the provider. Requests in progress are interrupted.
func (p *Provider) Close() error {
	p.stop()
	err := p.server.Close()
	if ended := <-p.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

func (p *Provider) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /charges", p.charge)
	mux.HandleFunc("POST /refunds", p.refund)
	mux.HandleFunc("GET /refunds", p.refunded)
	mux.HandleFunc("GET /ledger", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, p.Ledger()) })
	return mux
}

func (p *Provider) charge(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Order, Card string
		Amount      decimal.Decimal
	}
	key := r.Header.Get("Idempotency-Key")
	if err := decode(r, &asked); err != nil || key == "" || asked.Order == "" {
		answer(w, http.StatusBadRequest, nil)
		return
	}
	p.serve(w, r, "charge "+key, func(w http.ResponseWriter, _ *http.Request) {
		c, ok := p.book.charge(Charge{Key: key, Order: asked.Order, Amount: asked.Amount, Card: asked.Card})
		switch {
		case !ok:
			answer(w, http.StatusUnprocessableEntity, nil) // the key was used for something else
		case !c.Captured:
			answer(w, http.StatusPaymentRequired, c)
		default:
			answer(w, http.StatusCreated, c)
		}
	})
}

func (p *Provider) refund(w http.ResponseWriter, r *http.Request) {
	var asked Refund
	if err := decode(r, &asked); err != nil {
		answer(w, http.StatusBadRequest, nil)
		return
	}
	p.serve(w, r, "refund "+asked.Charge, func(w http.ResponseWriter, _ *http.Request) {
		if !p.book.refund(asked) {
			answer(w, http.StatusNotFound, nil)
			return
		}
		answer(w, http.StatusCreated, asked)
	})
}

func (p *Provider) refunded(w http.ResponseWriter, r *http.Request) {
	charge := r.URL.Query().Get("charge")
	p.serve(w, r, "query "+charge, func(w http.ResponseWriter, _ *http.Request) {
		if !p.book.refunded(charge) {
			answer(w, http.StatusNotFound, nil)
			return
		}
		answer(w, http.StatusOK, nil)
	})
}

// serve does what a request asks for, unless a fault strikes it.
func (p *Provider) serve(w http.ResponseWriter, r *http.Request, about string, do http.HandlerFunc) {
	fault := p.faultOf(about)
	if fault == nil {
		do(w, r)
		return
	}
	p.book.failed(fault.Name)
	fault.strike(w, r, do)
}

// decode reads the whole body: only then does the request's context end when the client
// closes the connection.
func decode(r *http.Request, into any) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may have gone
}
