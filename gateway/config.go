package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A Config configures a [Gateway]. Backend and Tenant are required; the zero value of every
// other field is useful.
type Config struct {
	// Backend decides who runs, and stores the responses.
	Backend Backend

	// Tenant names who sent a request, such as the account that was authenticated. A key
	// belongs to its tenant, so nobody gets another's response. It must not depend on what
	// the client claims without proof. A request for which it returns "" is refused with 403.
	Tenant func(*http.Request) string

	// Route names where a request goes. nil means the pattern of the [http.ServeMux] that
	// has chosen the handler, or the method and path if there is none; and before it the
	// prefix that [http.StripPrefix] has removed, if any. A key belongs to its route, and message
	// IDs are derived from it: a route that is renamed finds neither the responses nor the
	// changes of its former name. The name of a wildcard is a part of the pattern. So before you
	// rename {id} to {order}, set Route to a function that keeps the former names.
	Route func(*http.Request) string

	// Methods are the methods that need a key. Requests with others pass through, with a key
	// too, and then nothing keeps them from taking effect twice. nil means POST and PATCH. Add
	// PUT and DELETE if what sends requests repeats those that have a key, such as
	// [http.Transport] and the proxies of docs/gateways.md, unless a repeat does no harm. The
	// safe methods, such as GET and HEAD, are not allowed.
	Methods []string

	// Optional lets requests without a key run, each as if it had a new one. Otherwise they
	// are refused with 400.
	Optional bool

	// MaxRequestBody is the largest body of a request, in bytes. Larger ones are refused with
	// 413. 0 means 1 MiB.
	MaxRequestBody int64

	// MaxStoredBody is the largest body of a response that is stored, in bytes. Repeats of a
	// larger one get its status and stored headers without the body. 0 means 256 KiB.
	MaxStoredBody int

	// MaxResponseBody is the largest body of a response that is sent, in bytes: responses are
	// held in memory until the change has committed. 0 means 8 MiB.
	MaxResponseBody int

	// StoredHeaders are the headers of a response that are stored. nil means
	// [DefaultStoredHeaders]. The first response has all headers, repeats have only these.
	StoredHeaders []string

	// Stores reports whether responses with a status are stored. nil means
	// [Stores], and those for which that is false are never stored.
	Stores func(status int) bool

	// Wait is how long a request waits for another with the same key that is running. It
	// holds no connection of the backend while it waits. 0 means not at all: the answer is
	// 409 at once.
	Wait time.Duration

	// FinishTimeout limits how long the backend may take to store a response, or to release a
	// key, after the handler has returned. It applies even if the client has gone. 0 means
	// 10 seconds.
	FinishTimeout time.Duration

	// EncryptionKeys encrypt what is stored (AES-GCM). The first one that is not DecryptOnly
	// encrypts, all decrypt. If there is none, responses are stored as they are.
	EncryptionKeys []EncryptionKey

	// RequireEncryption refuses stored responses that are not encrypted, as unreadable. So
	// a writer of the backend who does not have a key can't make up a response. If it is
	// false, they are read, as those that were stored before there was a key.
	RequireEncryption bool

	// ProblemType is the start of the URI that is the type of each problem, such as
	// "https://api.example.com/problems#": the problem's code is added to it. Empty means
	// about:blank, with the status as title and the rest in the detail.
	ProblemType string

	// Logger gets what an operator should know. It never gets keys, bodies or headers. nil
	// means no logs.
	Logger *slog.Logger
}

// An EncryptionKey is an AES key.
type EncryptionKey struct {
	ID     string // stored with what it encrypts; 1 to 32 bytes, different for each key
	Secret []byte // 16, 24 or 32 random bytes: AES-128, AES-192 or AES-256

	// DecryptOnly keeps the key from encrypting. It is for a rolling deploy: a new key must be
	// known to all processes before the first one encrypts with it.
	DecryptOnly bool
}

// DefaultStoredHeaders are the headers of a response that are stored if a configuration does
// not name any.
var DefaultStoredHeaders = []string{
	"Allow", "Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Location",
	"Content-Type", "Etag", "Last-Modified", "Link", "Location", "Retry-After", "Vary",
}

// The defaults of the bounds.
const (
	defaultRequestBody  = 1 << 20
	defaultStoredBody   = 256 << 10
	defaultResponseBody = 8 << 20
	defaultFinish       = 10 * time.Second
)

// withDefaults returns the configuration with its zero values replaced.
func (c Config) withDefaults() Config {
	if c.Route == nil {
		c.Route = routeOf
	}
	if c.Methods == nil {
		c.Methods = []string{http.MethodPost, http.MethodPatch}
	}
	if c.StoredHeaders == nil {
		c.StoredHeaders = DefaultStoredHeaders
	}
	if c.Stores == nil {
		c.Stores = Stores
	}
	if c.Logger == nil {
		c.Logger = discard
	}
	c.MaxRequestBody = cmp.Or(c.MaxRequestBody, defaultRequestBody)
	c.MaxStoredBody = cmp.Or(c.MaxStoredBody, defaultStoredBody)
	c.MaxResponseBody = cmp.Or(c.MaxResponseBody, defaultResponseBody)
	c.FinishTimeout = cmp.Or(c.FinishTimeout, defaultFinish)
	c.Methods, c.StoredHeaders, c.EncryptionKeys = slices.Clone(c.Methods), slices.Clone(c.StoredHeaders), slices.Clone(c.EncryptionKeys)
	return c
}

// routeOf is the default of Config.Route. Muxes that are mounted at different prefixes may
// have the same patterns.
func routeOf(r *http.Request) string {
	route := r.Pattern
	if route == "" {
		route = r.Method + " " + r.URL.EscapedPath()
	}
	sent, err := url.ParseRequestURI(r.RequestURI) // with a host, if the client takes the server for a proxy
	if err != nil {
		return route
	}
	if prefix, ok := strings.CutSuffix(sent.EscapedPath(), r.URL.EscapedPath()); ok && strings.HasPrefix(prefix, "/") {
		return prefix + " " + route
	}
	return route
}

// validate returns all problems of a configuration with defaults.
func (c Config) validate() error {
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf("gateway: "+format, args...)) }
	if c.Backend == nil {
		problem("Backend is nil; use the one of package gateway/postgres, for example")
	}
	if c.Tenant == nil {
		problem("Tenant is nil; without it, a caller could get another's response")
	}
	if len(c.Methods) == 0 {
		problem("Methods is empty; nil means POST and PATCH")
	}
	for _, method := range c.Methods {
		switch method {
		case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodConnect, "":
			problem("Methods has %q; only methods that change something need a key", method)
		case strings.ToUpper(method):
		default:
			problem("Methods has %q; methods are case-sensitive, use %q", method, strings.ToUpper(method))
		}
	}
	for name, bound := range map[string]int64{
		"MaxRequestBody": c.MaxRequestBody, "MaxStoredBody": int64(c.MaxStoredBody), "MaxResponseBody": int64(c.MaxResponseBody),
		"Wait": int64(c.Wait), "FinishTimeout": int64(c.FinishTimeout),
	} {
		if bound < 0 {
			problem("%s is negative", name)
		}
	}
	for _, name := range c.StoredHeaders {
		if slices.Contains(notStored, http.CanonicalHeaderKey(name)) {
			problem("StoredHeaders has %q, which belongs to one transmission of a response", name)
		}
	}
	problems = append(problems, validateKeys(c.EncryptionKeys)...)
	if c.RequireEncryption && encrypting(c.EncryptionKeys) == "" {
		problem("RequireEncryption is set, and EncryptionKeys has no key that encrypts")
	}
	return errors.Join(problems...)
}

// notStored are headers that each transmission of a response has of its own (RFC 9110,
// sections 6.6.1 and 7.6.1), and those of this package.
var notStored = []string{
	"Connection", "Content-Length", "Date", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	headerReplayed, headerBody,
}

// encrypting returns the ID of the key that encrypts, or "" if none does.
func encrypting(keys []EncryptionKey) string {
	for _, key := range keys {
		if !key.DecryptOnly {
			return key.ID
		}
	}
	return ""
}

func validateKeys(keys []EncryptionKey) (problems []error) {
	seen := make(map[string]bool)
	for i, key := range keys {
		if key.ID == "" || len(key.ID) > maxKeyID {
			problems = append(problems, fmt.Errorf("gateway: EncryptionKeys[%d] has an ID of %d bytes; it needs 1 to %d", i, len(key.ID), maxKeyID))
		}
		if seen[key.ID] {
			problems = append(problems, fmt.Errorf("gateway: EncryptionKeys has %q twice", key.ID))
		}
		seen[key.ID] = true
		if n := len(key.Secret); n != 16 && n != 24 && n != 32 {
			problems = append(problems, fmt.Errorf("gateway: EncryptionKeys[%d] has a secret of %d bytes; it needs 16, 24 or 32", i, n))
		}
	}
	return problems
}
