//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// clientTimeout is how long a client waits for an answer before it sends again.
	clientTimeout = 1200 * time.Millisecond

	// A request is stuck if it has no response after stuckAfter, while others had stuckOthers
	// of theirs. All outages are shorter. If nobody gets responses, the machine is overloaded,
	// or all requests are stuck: then they have until allStuckAfter.
	stuckAfter    = time.Minute
	stuckOthers   = 1000
	allStuckAfter = 10 * time.Minute

	againEvery = 20 // each so many requests are repeated at the end
)

// A client sends requests through the proxy.
type client struct {
	http   *http.Client
	url    string
	ledger *ledger
}

func newClient(t *torture, l *ledger) *client {
	transport := &http.Transport{MaxIdleConnsPerHost: t.cfg.clients, MaxIdleConns: t.cfg.clients}
	return &client{http: &http.Client{Transport: transport, Timeout: clientTimeout}, url: "http://" + t.address + "/payments", ledger: l}
}

// traffic sends all requests, each until it has its response, and some of them again.
func traffic(ctx context.Context, t *torture, l *ledger) {
	c := newClient(t, l)
	defer c.http.CloseIdleConnections()
	each(t.cfg.clients, len(l.entries), func(i int) {
		random := rand.New(rand.NewPCG(t.cfg.seed, uint64(i)))
		e := &entry{payment: randomPayment(random, i)}
		l.entries[i] = e
		if random.IntN(10) == 0 { // a second client is not patient
			var wait sync.WaitGroup
			wait.Go(func() { c.insist(ctx, e) })
			defer wait.Wait()
		}
		for range 1 + random.IntN(3) {
			c.insist(ctx, e)
		}
		// A refusal leaves no history. When its response is lost, its key is free.
		if random.IntN(50) == 0 && (!l.loses || !e.payment.Refuse) {
			c.reuse(ctx, e)
		}
	})
}

func randomPayment(random *rand.Rand, i int) payment {
	return payment{
		ID: strconv.Itoa(i), Refuse: random.IntN(10) == 0, Pad: random.IntN(3000),
		Wallet: fmt.Sprint("wallet ", random.IntN(16)), Amount: 1 + random.Int64N(1000),
	}
}

// again repeats some requests long after they were answered.
func again(ctx context.Context, t *torture, l *ledger) {
	c := newClient(t, l)
	defer c.http.CloseIdleConnections()
	each(t.cfg.clients, len(l.entries)/againEvery, func(i int) { c.insist(ctx, l.entries[againEvery*i]) })
}

// afterForgetting repeats the same requests after their responses have gone. Before some of
// them, another request has their key.
func afterForgetting(ctx context.Context, t *torture, l *ledger) {
	l.loses = true
	c := newClient(t, l)
	defer c.http.CloseIdleConnections()
	each(t.cfg.clients, len(l.entries)/againEvery, func(i int) {
		e := l.entries[againEvery*i]
		if i%2 == 0 && !e.payment.Refuse {
			c.reuse(ctx, e)
		}
		c.insist(ctx, e)
	})
}

// each calls do for each number below n, a few at a time.
func each(atATime, n int, do func(i int)) {
	numbers := make(chan int)
	var wait sync.WaitGroup
	for range atATime {
		wait.Go(func() {
			for i := range numbers {
				do(i)
			}
		})
	}
	for i := range n {
		numbers <- i
	}
	close(numbers)
	wait.Wait()
}

// insist sends the request until it has a response that is stored.
func (c *client) insist(ctx context.Context, e *entry) {
	err := c.until(ctx, e, e.payment, func(a answer) bool {
		switch a.status {
		case http.StatusCreated, http.StatusPaymentRequired:
			e.got(a, c.ledger.loses)
			c.ledger.answered.Add(1)
			return true
		case http.StatusConflict, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		case http.StatusRequestTimeout: // of the proxy, if this process is slow to send the request
		default:
			e.complain("unexpected answer %.160v", a)
			return true
		}
		return false
	})
	if err != nil {
		e.giveUp(err)
	}
}

// reuse sends another request with the same key. It must be refused, and run never.
func (c *client) reuse(ctx context.Context, e *entry) {
	other := e.payment
	other.Pad++
	err := c.until(ctx, e, other, func(a answer) bool {
		if a.status == http.StatusCreated || a.status == http.StatusPaymentRequired {
			e.complain("another body with its key was answered with %.160v", a)
			return true
		}
		return a.status == http.StatusUnprocessableEntity
	})
	if err != nil {
		e.giveUp(fmt.Errorf("another body with its key was not refused: %w", err))
	}
}

// until sends a payment until done returns true for an answer.
func (c *client) until(ctx context.Context, e *entry, p payment, done func(answer) bool) error {
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	last := "nothing was sent"
	began, answered := time.Now(), c.ledger.answered.Load()
	for !c.stuck(began, answered) {
		e.sent()
		a, err := c.send(ctx, e.payment.ID, body)
		switch {
		case err != nil:
			last = err.Error()
		case done(a):
			return nil
		default:
			last = fmt.Sprint(a.status, " ", a.body)
		}
		if !pause(ctx, 5*time.Millisecond, 100*time.Millisecond) {
			return ctx.Err()
		}
	}
	return fmt.Errorf("no response after %v, in which others had %d; the last answer was %.200s",
		time.Since(began).Round(time.Second), c.ledger.answered.Load()-answered, last)
}

// stuck reports whether a request is stuck that began when the ledger had so many responses.
func (c *client) stuck(began time.Time, answered int64) bool {
	took := time.Since(began)
	return took > allStuckAfter || took > stuckAfter && c.ledger.answered.Load()-answered >= stuckOthers
}

// send sends a request once. http.Transport may send it again by itself.
func (c *client) send(ctx context.Context, key string, body []byte) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Tenant", "acme")
	r.Header.Set("Idempotency-Key", `"`+key+`"`)
	response, err := c.http.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	return answer{
		status: response.StatusCode, location: response.Header.Get("Location"),
		contentType: response.Header.Get("Content-Type"), etag: response.Header.Get("Etag"), body: string(text),
	}, nil
}
