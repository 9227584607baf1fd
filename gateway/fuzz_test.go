package gateway_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/pawl-go/pawl/gateway"
)

// FuzzHandler sends a request as the bytes that a client may send, twice. Its handler runs once at
// most with a key, gets the body that was sent, and the second response is the first one.
func FuzzHandler(f *testing.F) {
	const head = "POST /orders?a=1 HTTP/1.1\r\nHost: a\r\nTenant: acme\r\n"
	for _, rest := range []string{
		"Idempotency-Key: \"k\"\r\nContent-Length: 4\r\n\r\nbody",
		"Idempotency-Key: k\r\nIdempotency-Key: k\r\n\r\n",
		"idempotency-key:  \"a\\\"b\" \r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nTrailer: x\r\n\r\n",
		"Idempotency-Key: \"k\"\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\nab",
		"Idempotency-Key: k\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\nshort",
		"Idempotency-Key: " + strings.Repeat("k", 256) + "\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
		"Content-Length: 2000000\r\nIdempotency-Key: k\r\n\r\n",
		"Content-Type: multipart/form-data; boundary=b\r\nIdempotency-Key: k\r\nContent-Length: 5\r\n\r\n--b--",
	} {
		f.Add([]byte(head + rest))
	}
	for _, line := range []string{"GET", "PUT", "PATCH http://a", "POST *", "CONNECT"} {
		f.Add([]byte(strings.Replace(head, "POST ", line+" ", 1) + "Idempotency-Key: k\r\n\r\n"))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		parse := func() *http.Request {
			r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(sent)))
			if err != nil {
				t.Skip()
			}
			return r.WithContext(t.Context())
		}
		body, bodyErr := io.ReadAll(parse().Body)
		got := make([][]byte, 0, 2)
		handler := newGateway(t, gateway.Config{MaxRequestBody: 64 << 10, Optional: true}).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			read, err := io.ReadAll(r.Body)
			if err != nil && bodyErr == nil {
				t.Errorf("the handler can't read the body: %v", err)
			}
			got = append(got, read)
			w.Header().Set("Etag", gateway.EntityKey(r.Context(), ""))
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write(read)
		}))
		first, again := httptest.NewRecorder(), httptest.NewRecorder()
		handler.ServeHTTP(first, parse())
		ran := len(got)
		handler.ServeHTTP(again, parse())
		for _, read := range got {
			if bodyErr == nil && !bytes.Equal(read, body) {
				t.Errorf("the handler got %q, sent was %q", read, body)
			}
		}
		method, keys := parse().Method, parse().Header.Values("Idempotency-Key")
		if len(keys) == 0 || !slices.Contains([]string{http.MethodPost, http.MethodPatch}, method) {
			return // it may run each time
		}
		switch {
		case len(got) > 1:
			t.Errorf("the handler ran %d times", len(got))
		case ran == 1 && (again.Code != first.Code || !bytes.Equal(again.Body.Bytes(), first.Body.Bytes()) || again.Header().Get("Etag") != first.Header().Get("Etag")):
			t.Errorf("the first response is %d %q, the second %d %q", first.Code, first.Body, again.Code, again.Body)
		case ran == 1 && again.Header().Get("Idempotent-Replayed") != "true":
			t.Error("the second response does not say that it is a repeated one")
		case ran == 0 && (first.Code < 400 || first.Code >= 500):
			t.Errorf("a request that did not run got %d %q", first.Code, first.Body)
		case len(keys) > 1 && ran > 0:
			t.Error("a request with several lines of keys ran")
		}
	})
}
