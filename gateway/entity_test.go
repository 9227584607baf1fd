package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/gatewaytest"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

var uuid8 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// TestEntityKey checks which requests and names have the same key.
func TestEntityKey(t *testing.T) {
	t.Parallel()
	var name, key string
	h := newGateway(t, gateway.Config{Methods: []string{http.MethodPost}}).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key = gateway.EntityKey(r.Context(), name)
		w.WriteHeader(http.StatusServiceUnavailable) // so that the next attempt runs too
	}))
	keyOf := func(of string, change func(*http.Request)) string {
		r := request(t, "k", "")
		change(r)
		name = of
		do(h, r)
		return key
	}
	same := func(*http.Request) {}
	first := keyOf("", same)
	if !uuid8.MatchString(first) {
		t.Errorf("%q is no UUID of version 8", first)
	}
	if again := keyOf("", same); again != first {
		t.Errorf("the next attempt has key %s, want %s", again, first)
	}
	others := map[string]string{first: "the first"}
	for name, other := range map[string]string{
		"a name":         keyOf("line 1", same),
		"another name":   keyOf("line 2", same),
		"another key":    keyOf("", func(r *http.Request) { r.Header.Set("Idempotency-Key", "l") }),
		"another tenant": keyOf("", func(r *http.Request) { r.Header.Set("Tenant", "globex") }),
		"another route":  keyOf("", func(r *http.Request) { r.URL.Path = "/lines" }),
	} {
		if !uuid8.MatchString(other) || others[other] != "" {
			t.Errorf("%s has key %q, like %s", name, other, others[other])
		}
		others[other] = name
	}
	get := keyOf("", func(r *http.Request) { r.Method = http.MethodGet })
	if outside := gateway.EntityKey(t.Context(), "order"); outside != "" || get != "" {
		t.Errorf("without a gateway, the keys are %q and %q", outside, get)
	}
}

// TestCreation dies after a change that creates an entity, and repeats the request, also when
// its response has expired: there is one entity.
func TestCreation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := versioningtest.NewMemory(versioning.Rules{Machine: statemachine.MustCompile(statemachine.Definition{
			Name: "wallet", Version: 1,
			Transitions: []statemachine.Transition{{Event: "opened", To: "open"}, {Event: "closed", From: statemachine.In("open"), To: "closed"}},
			Terminal:    statemachine.In("closed"),
		})})
		dies := true
		h := newGateway(t, gateway.Config{Backend: gatewaytest.NewMemory(time.Hour)}).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx := r.Context()
			id := gateway.EntityKey(ctx, "wallet")
			outcome, err := store.Do(ctx, versioning.Change{Key: id, Event: "opened", MessageID: gateway.MessageID(ctx)})
			if err != nil || outcome.Verdict != versioning.Applied && outcome.Verdict != versioning.Duplicate {
				t.Errorf("%+v, %v", outcome, err)
			}
			if dies {
				panic(http.ErrAbortHandler)
			}
			w.Header().Set("Location", "/wallets/"+id)
			w.WriteHeader(http.StatusCreated)
		}))
		attempt := func() *httptest.ResponseRecorder {
			defer func() { _ = recover() }()
			return do(h, request(t, "k", ""))
		}
		attempt()
		dies = false
		first, repeat := attempt(), attempt()
		time.Sleep(2 * time.Hour) //nolint:forbidigo // a synctest bubble
		last := attempt()
		where := first.Header().Get("Location")
		if where == "" || repeat.Header().Get("Location") != where || last.Header().Get("Location") != where || last.Header().Get("Idempotent-Replayed") != "" {
			t.Errorf("the answers are %v, %v and %v", first.Header(), repeat.Header(), last.Header())
		}
		if n := len(store.Rows()); n != 1 {
			t.Errorf("%d wallets were opened", n)
		}
	})
}
