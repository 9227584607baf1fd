// Package registrytest has a schema registry in memory, for tests. It needs no port, can fail in
// the ways in which a registry fails, and works in bubbles of testing/synctest.
//
//	server := registrytest.New()
//	reg, err := registry.New(registry.Config{Client: server.Client()})
//	id := server.Add("payments-value", schema)
//	server.Fail(registrytest.Down)
package registrytest

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
)

// A Fault is a way in which a registry fails.
type Fault int

const (
	// None is no fault.
	None Fault = iota

	// Down makes connections fail.
	Down

	// Slow makes requests wait until their context ends.
	Slow

	// NotFound answers like a server that is no schema registry: 404 and a page in HTML.
	NotFound

	// Unavailable answers 503, like a registry without a leader.
	Unavailable

	// Unauthorized answers 401.
	Unauthorized

	// Garbage answers 200 with something that is no JSON.
	Garbage

	// Empty answers 200 with an empty JSON object.
	Empty

	// Huge answers 200 with more than anybody should read.
	Huge
)

// ErrDown is the error of connections while the registry is [Down].
var ErrDown = errors.New("connection refused")

// A Registry is a schema registry in memory. It is safe for concurrent use.
type Registry struct {
	fake *srfake.Registry

	mu       sync.Mutex
	fault    Fault
	requests int
}

// New returns an empty registry without faults. It has no goroutines and need not be closed.
func New() *Registry { return &Registry{fake: srfake.NewRegistry()} }

// Client returns options with which a client reaches the registry, without a network.
func (r *Registry) Client() []sr.ClientOpt {
	return []sr.ClientOpt{sr.URLs("http://registry.invalid"), sr.HTTPClient(&http.Client{Transport: transport{r}})}
}

// Add registers a schema under a subject and returns its ID, which is the same each time. It
// panics if the schema is not valid.
func (r *Registry) Add(subject string, schema sr.Schema) (id int) {
	id, _, err := r.fake.RegisterSchema(subject, schema)
	if err != nil {
		panic(fmt.Sprintf("registrytest: register a schema for %s: %v", subject, err))
	}
	return id
}

// GUID returns the GUID of the last schema of a subject. It panics if there is none.
func (r *Registry) GUID(subject string) string {
	guid := ""
	for version := 1; ; version++ {
		s, ok := r.fake.GetSchema(subject, version)
		switch {
		case ok:
			guid = s.GUID
		case guid == "":
			panic("registrytest: there is no schema of subject " + subject)
		default:
			return guid
		}
	}
}

// Fail makes the registry fail from now on, until it is called with [None].
func (r *Registry) Fail(f Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = f
}

// Requests returns how many requests there were, with those that failed.
func (r *Registry) Requests() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests
}

// ServeHTTP answers a request, for tests with a server. [Down] and [Slow] close the connection
// there.
func (r *Registry) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	r.requests++
	fault := r.fault
	r.mu.Unlock()
	switch fault {
	case None:
		r.fake.Handler().ServeHTTP(w, request)
	case Down:
		panic(http.ErrAbortHandler)
	case Slow:
		<-request.Context().Done()
		panic(http.ErrAbortHandler)
	case NotFound:
		answer(w, http.StatusNotFound, "text/html", "<html><h1>404 Not Found</h1></html>")
	case Unavailable:
		answer(w, http.StatusServiceUnavailable, "application/json", `{"error_code":50004,"message":"Unknown leader"}`)
	case Unauthorized:
		answer(w, http.StatusUnauthorized, "application/json", `{"error_code":401,"message":"Unauthorized"}`)
	case Garbage:
		answer(w, http.StatusOK, "text/plain", "\x00not JSON")
	case Empty:
		answer(w, http.StatusOK, "application/json", "{}")
	case Huge:
		text := make([]byte, 1<<20)
		for range 64 {
			_, _ = w.Write(text) // the client may stop reading
		}
	}
}

func answer(w http.ResponseWriter, status int, kind, body string) {
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // nobody may be listening any more
}

// A transport answers requests without a network.
type transport struct{ registry *Registry }

// RoundTrip implements [http.RoundTripper].
func (t transport) RoundTrip(request *http.Request) (response *http.Response, err error) {
	recorder := httptest.NewRecorder()
	defer func() {
		if p := recover(); p != nil {
			response, err = nil, ErrDown
			if request.Context().Err() != nil {
				err = request.Context().Err()
			}
		}
	}()
	t.registry.ServeHTTP(recorder, request)
	return recorder.Result(), nil
}
