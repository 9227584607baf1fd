package gateway

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
)

// An incoming is a request that has been read completely.
type incoming struct {
	key         Key
	body        []byte
	fingerprint fingerprint
}

// read reads the request, or says why it is refused.
func (g *Gateway) read(w http.ResponseWriter, r *http.Request) (*incoming, *Problem) {
	in := &incoming{key: Key{Tenant: g.cfg.Tenant(r), Route: g.cfg.Route(r)}}
	if in.key.Tenant == "" {
		return nil, &problemNoTenant
	}
	var refusal *Problem
	if in.key.Value, refusal = g.keyOf(r.Header); refusal != nil {
		return nil, refusal
	}
	if in.body, refusal = g.bodyOf(w, r); refusal != nil {
		return nil, refusal
	}
	in.fingerprint = fingerprintOf(r, in.key.Route, in.body)
	return in, nil
}

func (g *Gateway) keyOf(h http.Header) (string, *Problem) {
	lines := h.Values(headerKey)
	if len(lines) == 0 {
		if g.cfg.Optional {
			return rand.Text(), nil
		}
		return "", &problemNoKey
	}
	key, err := parseKey(lines)
	if err != nil {
		refusal := problemBadKey
		refusal.Detail = strings.ToUpper(err.Error()[:1]) + err.Error()[1:] + "."
		return "", &refusal
	}
	return key, nil
}

// bodyOf reads the body. The handler gets a copy, so nothing runs before all of it has come.
func (g *Gateway) bodyOf(w http.ResponseWriter, r *http.Request) ([]byte, *Problem) {
	if r.ContentLength > g.cfg.MaxRequestBody {
		return nil, &problemLargeBody // the client need not send it
	}
	if r.Body == nil {
		return nil, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, g.cfg.MaxRequestBody))
	if len(body) == 0 && isConsumed(r, err) {
		return nil, g.consumed(r)
	}
	if err == nil && isShort(r, len(body)) {
		return nil, g.consumed(r)
	}
	if err == nil {
		return body, nil
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); large { // ours, or that of an outer handler
		return nil, &problemLargeBody
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, &problemSlowBody
	}
	return nil, &problemBadBody
}

func (g *Gateway) consumed(r *http.Request) *Problem {
	g.cfg.Logger.ErrorContext(r.Context(), "a handler in front of the gateway has read the body of a request; it must put it back, or come after the gateway")
	return &problemBodyConsumed
}

// isConsumed reports whether somebody else has read a body that had no bytes left, but err.
// Without it, different requests would have the same fingerprint.
func isConsumed(r *http.Request, err error) bool {
	return errors.Is(err, http.ErrBodyReadAfterClose) ||
		err == nil && (r.ContentLength > 0 || len(r.PostForm) > 0 || r.MultipartForm != nil)
}

// isShort reports whether somebody else has read a part of the body: n bytes were left. A handler
// that decompresses the body may leave the length of the compressed one, which may be longer.
func isShort(r *http.Request, n int) bool {
	return r.ContentLength > int64(n) && r.Header.Get("Content-Encoding") == ""
}

// A fingerprint tells a repeated request from another one with the same key.
type fingerprint [sha256.Size]byte

// fingerprintOf hashes the method, the route, the path, the query and the body, each after
// its length. It leaves out headers: proxies change them, and each attempt may have others.
func fingerprintOf(r *http.Request, route string, body []byte) (f fingerprint) {
	hash := sha256.New()
	var length []byte
	for _, part := range []string{r.Method, route, r.URL.EscapedPath(), r.URL.RawQuery, string(body)} {
		length = binary.AppendUvarint(length[:0], uint64(len(part)))
		_, _ = hash.Write(length) // never fails
		_, _ = io.WriteString(hash, part)
	}
	hash.Sum(f[:0])
	return f
}
