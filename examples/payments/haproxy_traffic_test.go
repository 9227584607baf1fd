package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pawl-go/pawl/examples/payments/internal/traffic"
	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/statemachine"
)

// A move asks for one step of a payment, by a request or by a record of the topic.
type move struct {
	traffic.Record        // the ID is the Idempotency-Key, or that of the record
	route          string // the route's pattern; empty for a record
	refused        bool   // it must not take effect, whenever it comes
	copies         int    // how often a record is in the topic

	mu      sync.Mutex
	first   *answer // that is stored
	late    bool    // the first answer is a repeat: what was to be the first one was lost
	sends   int
	repeats int      // answers that were compared with the first one
	wrong   []string // what clients complain about
}

// messageID returns the ID that the payment's history has.
func (m *move) messageID() string {
	if m.route == "" {
		return m.MessageID()
	}
	return gateway.Key{Tenant: "shop", Route: m.route, Value: m.ID}.MessageID()
}

// got notes what an attempt got, and reports whether it is the final answer.
func (m *move) got(a answer, err error) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sends++
	if err != nil {
		return false
	}
	switch a.status {
	case http.StatusConflict, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return false
	case http.StatusRequestTimeout: // of HAProxy, if this process is slow to send the request
		return false
	}
	replayed := a.replayed
	a.replayed = false
	switch {
	case m.first == nil:
		m.first, m.late = &a, replayed
	case *m.first != a:
		m.wrong = append(m.wrong, fmt.Sprintf("was answered with %+v, and then with %+v", *m.first, a))
	default:
		m.repeats++
	}
	return true
}

func (m *move) complain(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wrong = append(m.wrong, fmt.Sprintf(format, args...))
}

// ask sends the request until it has a final answer. Its patience is short at first.
func (s *site) ask(ctx context.Context, m *move) {
	path := strings.Replace(strings.TrimPrefix(m.route, "POST "), "{id}", m.Message.Payment, 1)
	body, err := json.Marshal(traffic.Message{Amount: m.Message.Amount, Currency: m.Message.Currency, FeeRate: m.Message.FeeRate})
	if err != nil {
		panic(err) // a Message can always be encoded
	}
	for n := int64(1); ; n++ {
		attempt, cancel := context.WithTimeout(ctx, time.Duration(min(n*(5+rand.Int64N(20)), 2000))*time.Millisecond)
		a, err := s.post(attempt, "shop", path, m.ID, string(body))
		cancel()
		if m.got(a, err) {
			return
		}
		if !pause(ctx, time.Duration(min(n*5, 100))*time.Millisecond) {
			m.complain("is stuck: it was sent %d times; the last answer was %+v, %v", n, a, err)
			return
		}
	}
}

// askOften asks several times, sometimes at once.
func (s *site) askOften(ctx context.Context, m *move) {
	var wait sync.WaitGroup
	if rand.IntN(4) == 0 {
		wait.Go(func() { s.ask(ctx, m) })
	}
	for range 1 + rand.IntN(3) {
		s.ask(ctx, m)
	}
	wait.Wait()
}

// move makes the moves of a payment, all at the same time.
func (p *proxied) move(ctx context.Context, payment string) error {
	all := script(payment, rand.New(rand.NewPCG(rand.Uint64(), 0)))
	p.mu.Lock()
	p.ledger[payment] = all
	p.mu.Unlock()
	var asking sync.WaitGroup
	var records []traffic.Record
	for _, m := range all {
		if m.route != "" {
			asking.Go(func() { p.askOften(ctx, m) })
		}
		for range m.copies {
			records = append(records, m.Record)
		}
	}
	defer asking.Wait()
	rand.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	for _, r := range records {
		if _, err := traffic.Send(ctx, p.client, topic, []traffic.Record{r}); err != nil {
			return err
		}
		p.sent.Add(1)
	}
	return nil
}

// pause waits for a random time, and reports whether ctx is still not done.
func pause(ctx context.Context, longest time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(longest/4 + rand.N(longest)):
		return true
	}
}

// routeOf has the route of each event.
var routeOf = func() map[string]string {
	routes := make(map[string]string)
	for route, event := range moves {
		routes[string(event)] = route
	}
	return routes
}()

// script returns the moves of a payment. About half of them are requests, the others records.
// All may come in any order, because what comes too early waits: those that are not refused
// take effect, and the amounts are the same in the end.
func script(payment string, random *rand.Rand) (all []*move) {
	const authorized = 1000
	add := func(event statemachine.Event, amount int64) *move {
		m := &move{Record: traffic.Record{
			Key: payment, ID: fmt.Sprintf("%s-%d", payment, len(all)),
			Message: traffic.Message{Type: string(event), Payment: payment, Amount: amount, Currency: "EUR"},
		}}
		if random.IntN(2) == 0 {
			m.route = routeOf[m.Message.Type]
		} else {
			m.copies = 1 + random.IntN(2)
		}
		all = append(all, m)
		return m
	}
	add(PaymentAuthorized, authorized).Message.FeeRate = "0.01455"
	captures := cut(authorized, 2+random.IntN(11), random)
	if len(captures) > 1 && random.IntN(4) == 0 {
		captures = captures[1:] // it is never captured completely
	}
	var captured int64
	for _, amount := range captures {
		add(PaymentCaptured, amount)
		captured += amount
	}
	if random.IntN(4) > 0 {
		back := captured
		if random.IntN(2) == 0 {
			back = 1 + random.Int64N(captured)
		}
		for _, amount := range cut(back, 1+random.IntN(6), random) {
			add(PaymentRefunded, amount)
		}
	}
	add(PaymentCaptured, authorized+1).refused = true
	if random.IntN(2) == 0 {
		m := add(PaymentRefunded, 1)
		m.Message.Currency, m.refused = "USD", true
	}
	return all
}

// cut cuts an amount into at most n parts.
func cut(amount int64, n int, random *rand.Rand) []int64 {
	sums := map[int64]bool{amount: true}
	for range n - 1 {
		sums[1+random.Int64N(amount)] = true
	}
	parts := slices.Sorted(maps.Keys(sums))
	for i := len(parts) - 1; i > 0; i-- {
		parts[i] -= parts[i-1]
	}
	return parts
}
