package gateway_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pawl-go/pawl/gateway"
)

// exchange sends a request as bytes and returns the response's bytes, without the headers
// that each transmission has.
func exchange(t *testing.T, server *httptest.Server, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	var kept bytes.Buffer
	lines := bufio.NewReader(bytes.NewReader(all))
	for {
		line, err := lines.ReadString('\n')
		if !strings.HasPrefix(line, "Date:") && !strings.HasPrefix(line, "Idempotent-Replayed:") {
			kept.WriteString(line)
		}
		if line == "\r\n" || err != nil {
			break
		}
	}
	_, _ = io.Copy(&kept, lines) // can't fail
	return kept.String()
}

// TestWire compares the bytes of the first response and its repeat on a connection.
func TestWire(t *testing.T) {
	t.Parallel()
	handler := &counter{handle: func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/empty":
			w.WriteHeader(http.StatusNoContent)
		case "/refused":
			gateway.WriteProblem(w, gateway.Problem{Status: http.StatusConflict, Title: "No", Code: "no"})
		default:
			w.Header()["Content-Type"] = nil
			_, _ = io.Copy(w, io.MultiReader(bytes.NewReader(bytes.Repeat(allBytes(), 100)), r.Body))
		}
	}}
	server := httptest.NewServer(newGateway(t, gateway.Config{}).Handler(handler))
	defer server.Close()
	for i, path := range []string{"/", "/empty", "/refused"} {
		plain := "POST " + path + " HTTP/1.1\r\nHost: a\r\nTenant: t\r\nConnection: close\r\nIdempotency-Key: \"k\"\r\nContent-Length: 4\r\n\r\nbody"
		chunked := "POST " + path + " HTTP/1.1\r\nHost: a\r\nTenant: t\r\nConnection: close\r\nidempotency-key:  k \r\n" +
			"Transfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"
		first := exchange(t, server, plain)
		for _, repeat := range []string{plain, chunked} {
			if got := exchange(t, server, repeat); got != first || len(got) < 40 {
				t.Errorf("%s: the repeat is\n%.300q, want\n%.300q", path, got, first)
			}
		}
		if handler.runs != i+1 {
			t.Errorf("%s: %d runs", path, handler.runs)
		}
	}
	for name, lines := range map[string]string{
		"two lines": "Idempotency-Key: k\r\nIdempotency-Key: k\r\n", "none": "", "bytes": "Idempotency-Key: \xff\r\n",
	} {
		got := exchange(t, server, fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nTenant: t\r\nConnection: close\r\n%sContent-Length: 0\r\n\r\n", lines))
		if !strings.HasPrefix(got, "HTTP/1.1 400") {
			t.Errorf("%s: %.100q", name, got)
		}
	}
	if handler.runs != 3 {
		t.Errorf("%d runs", handler.runs)
	}
}

// TestCutOffRequest checks that a request whose client goes while it sends does not run.
func TestCutOffRequest(t *testing.T) {
	t.Parallel()
	handler := &counter{}
	server := httptest.NewServer(newGateway(t, gateway.Config{}).Handler(handler))
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\nTenant: t\r\nIdempotency-Key: k\r\nContent-Length: 4\r\n\r\nbo")
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if response, _ := io.ReadAll(conn); !strings.HasPrefix(string(response), "HTTP/1.1 400") {
		t.Errorf("%.100q", response)
	}
	_ = conn.Close() // the server has answered
	server.Close()
	if handler.runs != 0 {
		t.Error("half a request has run")
	}
}
