package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/shopspring/decimal"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	goodCard = "4000056655665556"
	badCard  = "4000000000000002"
)

// A shop is a client of a provider.
type shop struct {
	*testing.T
	*Provider
	client http.Client
}

func open(t *testing.T, cfg Config) *shop {
	t.Helper()
	p, err := Start(t.Context(), "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := &shop{T: t, Provider: p, client: http.Client{Transport: &http.Transport{}}}
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// ask makes a request that the client gives up after a time. The status is 0 if there was no
// answer.
func (s *shop) ask(method, path, key string, body any) (status int, header http.Header) {
	s.Helper()
	content, err := json.Marshal(body)
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(s.Context(), 500*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.URL()+path, bytes.NewReader(content))
	if err != nil {
		s.Fatal(err)
	}
	if key != "" {
		req.Header["Idempotency-Key"] = []string{key}
	}
	req.GetBody = nil // or else the transport would repeat requests with a key by itself
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	return resp.StatusCode, resp.Header
}

func (s *shop) charge(key, order, amount, card string) int {
	s.Helper()
	status, _ := s.ask(http.MethodPost, "/charges", key, map[string]string{"order": order, "amount": amount, "card": card})
	return status
}

func TestCharges(t *testing.T) {
	s := open(t, Config{})
	for _, c := range []struct {
		key, order, amount, card string
		want                     int
	}{
		{"1", "a", "12.50", goodCard, http.StatusCreated},
		{"1", "a", "12.50", goodCard, http.StatusCreated}, // does nothing
		{"1", "a", "12.60", goodCard, http.StatusUnprocessableEntity},
		{"2", "b", "3", badCard, http.StatusPaymentRequired},
		{"2", "b", "3", badCard, http.StatusPaymentRequired},
		{"3", "b", "3", goodCard, http.StatusCreated},
		{"", "c", "3", goodCard, http.StatusBadRequest},
		{"4", "", "3", goodCard, http.StatusBadRequest},
		{"5", "c", "much", goodCard, http.StatusBadRequest},
	} {
		if got := s.charge(c.key, c.order, c.amount, c.card); got != c.want {
			t.Errorf("%+v: status %d", c, got)
		}
	}
	want := []Charge{
		{"ch_000001", "1", "a", decimal.RequireFromString("12.50"), goodCard, true},
		{"ch_000002", "2", "b", decimal.NewFromInt(3), badCard, false},
		{"ch_000003", "3", "b", decimal.NewFromInt(3), goodCard, true},
	}
	if diff := cmp.Diff(want, s.Ledger().Charges); diff != "" {
		t.Errorf("charges differ (-want +got):\n%s", diff)
	}
}

func TestRefunds(t *testing.T) {
	s := open(t, Config{})
	s.charge("1", "a", "12.50", goodCard)
	refund := map[string]string{"charge": "ch_000001", "amount": "12.50"}
	for _, c := range []struct {
		method, path string
		body         any
		want         int
	}{
		{http.MethodGet, "/refunds?charge=ch_000001", nil, http.StatusNotFound},
		{http.MethodPost, "/refunds", refund, http.StatusCreated},
		{http.MethodGet, "/refunds?charge=ch_000001", nil, http.StatusOK},
		{http.MethodPost, "/refunds", refund, http.StatusCreated}, // it has no keys: twice is twice
		{http.MethodPost, "/refunds", map[string]string{"charge": "ch_2", "amount": "1"}, http.StatusNotFound},
		{http.MethodPost, "/refunds", "money", http.StatusBadRequest},
	} {
		if got, _ := s.ask(c.method, c.path, "", c.body); got != c.want {
			t.Errorf("%+v: status %d", c, got)
		}
	}
	if refunds := s.Ledger().Refunds; len(refunds) != 2 {
		t.Errorf("refunds %v, want 2", refunds)
	}
}

// TestFaults checks what each fault answers, and what the provider has done then. The first
// requests get one fault each.
func TestFaults(t *testing.T) {
	s := open(t, Config{Faults: true})
	statuses := map[string]int{ // the others have no answer
		"status 500": 500, "status 502, after the work": 502, "status 429, Retry-After: 1": 429, "a slow answer": 201,
	}
	for i, f := range Faults {
		before := len(s.Ledger().Charges)
		key := fmt.Sprint(i)
		status, header := s.ask(http.MethodPost, "/charges", key, map[string]string{"order": key, "amount": "1", "card": goodCard})
		if status != statuses[f.Name] || status == http.StatusTooManyRequests && header.Get("Retry-After") != "1" {
			t.Errorf("%s: status %d, header %v", f.Name, status, header)
		}
		if did := len(s.Ledger().Charges) > before; did != (f.Does == "it was done") {
			t.Errorf("%s: %s, but the ledger says %t", f.Name, f.Does, did)
		}
	}
	for i, f := range Faults { // the third attempt always works
		key := fmt.Sprint(i)
		s.charge(key, key, "1", goodCard)
		if status := s.charge(key, key, "1", goodCard); status != http.StatusCreated {
			t.Errorf("%s: status %d of the third attempt", f.Name, status)
		}
	}
	if l := s.Ledger(); len(l.Charges) != len(Faults) || l.Requests != 3*len(Faults) {
		t.Errorf("%d charges of %d requests: %+v", len(l.Charges), l.Requests, l)
	}
}

// TestShares checks how often faults strike, and that the third request about the same is
// always answered.
func TestShares(t *testing.T) {
	const requests = 20_000
	struck := make(map[string]int)
	p := &Provider{cfg: Config{Faults: true, Seed: 1}, book: newBook()}
	for i := range requests + len(Faults) {
		about := fmt.Sprint(i)
		if f := p.faultOf(about); f != nil && i >= len(Faults) {
			struck[f.Name]++
		}
		p.faultOf(about)
		if f := p.faultOf(about); f != nil {
			t.Errorf("the third request about %s: %s", about, f.Name)
		}
	}
	for _, f := range Faults {
		if want := f.Share * requests; float64(struck[f.Name]) < want/2 || float64(struck[f.Name]) > want*2 {
			t.Errorf("%s: %d of %d requests, want about %.0f", f.Name, struck[f.Name], requests, want)
		}
	}
}

func TestAddressInUse(t *testing.T) {
	s := open(t, Config{})
	if _, err := Start(t.Context(), s.URL()[len("http://"):], Config{}); err == nil {
		t.Error("a second provider started on the same address")
	}
}
