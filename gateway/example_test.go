package gateway_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/gatewaytest"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

var order = statemachine.MustCompile(statemachine.Definition{
	Name: "order", Version: 1,
	Transitions: []statemachine.Transition{{Event: "placed", To: "placed"}, {Event: "paid", From: statemachine.In("placed"), To: "paid"}},
	Terminal:    statemachine.In("paid"),
})

// authenticated returns the account that an outer handler has authenticated.
func authenticated(r *http.Request) string {
	account, _, _ := r.BasicAuth()
	return account
}

// A request that is sent again takes effect once.
func Example() {
	g, err := gateway.New(gateway.Config{
		Backend: gatewaytest.NewMemory(0), // in production, that of package gateway/postgres
		Tenant:  authenticated,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	orders := 0
	mux := http.NewServeMux()
	mux.Handle("POST /orders", g.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		orders++
		w.Header().Set("Location", fmt.Sprint("/orders/", orders))
		w.WriteHeader(http.StatusCreated)
	})))

	send := func(key, body string) {
		r := httptest.NewRequest(http.MethodPost, "/orders", strings.NewReader(body))
		r.SetBasicAuth("acme", "password")
		r.Header.Set("Idempotency-Key", key)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Printf("%d %q %q\n", w.Code, w.Header().Get("Location"), w.Header().Get("Idempotent-Replayed"))
	}
	send(`"8e03978e"`, "a book")
	send(`"8e03978e"`, "a book") // the answer was lost: the client sends it again
	send(`"8e03978e"`, "a lamp") // a mistake of the client
	send(`"40d5a1c2"`, "a lamp")
	// Output:
	// 201 "/orders/1" ""
	// 201 "/orders/1" "true"
	// 422 "" ""
	// 201 "/orders/2" ""
}

// The message ID of a request belongs to its tenant, route and key. It is the same for each
// attempt.
func ExampleMessageID() {
	g, err := gateway.New(gateway.Config{Backend: gatewaytest.NewMemory(0), Tenant: authenticated})
	if err != nil {
		fmt.Println(err)
		return
	}
	h := g.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println(gateway.MessageID(r.Context())) // for versioning.Change.MessageID
	}))
	r := httptest.NewRequest(http.MethodPost, "/orders", nil)
	r.SetBasicAuth("acme", "password")
	r.Header.Set("Idempotency-Key", `"8e03978e"`)
	h.ServeHTTP(httptest.NewRecorder(), r)
	fmt.Println(gateway.Key{Tenant: "acme", Route: "POST /orders", Value: "8e03978e"}.MessageID())
	// Output:
	// http:c3k1Kv6hQmoDPX1gxESpXPTHCbss3bgGOektFf1W2Qc
	// http:c3k1Kv6hQmoDPX1gxESpXPTHCbss3bgGOektFf1W2Qc
}

// A handler that creates an entity derives its key from the request. So an attempt that comes
// after a crash, or when the response has expired, asks for the same entity again.
func ExampleEntityKey() {
	store := versioningtest.NewMemory(versioning.Rules{Machine: order}) // or that of package versioning/postgres
	g, err := gateway.New(gateway.Config{Backend: gatewaytest.NewMemory(0), Tenant: authenticated})
	if err != nil {
		fmt.Println(err)
		return
	}
	h := g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		id := gateway.EntityKey(ctx, "order")
		outcome, err := store.Do(ctx, versioning.Change{Key: id, Event: "placed", MessageID: gateway.MessageID(ctx)})
		fmt.Println(id, outcome.Verdict, err)
		w.WriteHeader(http.StatusServiceUnavailable) // the process could die here
	}))
	for range 2 {
		r := httptest.NewRequest(http.MethodPost, "/orders", nil)
		r.SetBasicAuth("acme", "password")
		r.Header.Set("Idempotency-Key", `"8e03978e"`)
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	// Output:
	// 2e6aa72b-7356-8987-a1f9-2512ea2186e1 applied <nil>
	// 2e6aa72b-7356-8987-a1f9-2512ea2186e1 duplicate <nil>
}

// Backends store by the ID of a key.
func ExampleKey_ID() {
	a := gateway.Key{Tenant: "acme", Route: "POST /orders", Value: "1"}
	b := gateway.Key{Tenant: "globex", Route: "POST /orders", Value: "1"}
	fmt.Println(len(a.ID()), a.ID() == b.ID())
	// Output: 32 false
}

// Handlers answer with problems like the gateway's.
func ExampleWriteProblem() {
	w := httptest.NewRecorder()
	gateway.WriteProblem(w, gateway.Problem{Status: http.StatusConflict, Title: "The payment is voided", Code: "voided"})
	fmt.Println(w.Code, w.Header().Get("Content-Type"))
	fmt.Print(w.Body)
	// Output:
	// 409 application/problem+json
	// {"title":"The payment is voided","status":409,"code":"voided"}
}

// A configuration can store less than Stores, not more.
func ExampleStores() {
	for _, status := range []int{201, 303, 404, 429, 503} {
		fmt.Println(status, gateway.Stores(status))
	}
	// Output:
	// 201 true
	// 303 true
	// 404 true
	// 429 false
	// 503 false
}
