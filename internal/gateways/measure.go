package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A request is what a client sends once.
type request struct {
	method string
	key    string // the value of Idempotency-Key, absent if empty
	header string // further lines of the header, each with CRLF
	body   string
}

const key = `"8e03978e"`

// requests are the columns of the tables.
var requests = []request{
	{method: http.MethodGet},
	{method: http.MethodPost, body: "{}"},
	{method: http.MethodPost, body: "{}", key: key},
	{method: http.MethodPut, body: "{}"},
	{method: http.MethodPut, body: "{}", key: key},
}

func (r request) String() string {
	if r.key != "" {
		return r.method + " with key"
	}
	return r.method
}

// write sends the request on a connection.
func (r request) write(conn io.Writer, path string) error {
	header := r.header
	if r.key != "" {
		header += "Idempotency-Key: " + r.key + "\r\n"
	}
	_, err := fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: shop.example\r\n%sContent-Length: %d\r\n\r\n%s",
		r.method, path, header, len(r.body), r.body)
	return err
}

// An outcome is what happened to one request.
type outcome struct {
	arrived int    // how often the backend got it
	effects int    // how often it took effect
	reused  bool   // it first came on a used connection
	answer  string // what the client got
}

func (o outcome) String() string {
	return fmt.Sprintf("%d/%d %s", o.arrived, o.effects, o.answer)
}

// A table has the outcomes of one proxy: a row for each fault, a column for each request.
type table [][]outcome

// A cell is one request that meets one fault.
type cell struct {
	backend *backend
	request request
	socket  string // where the proxy that is in front of the backend listens, if there is one
}

// A sender sends a cell's request and returns what the client got. It never sends again by
// itself.
type sender func(ctx context.Context, c *cell) (answer string, err error)

// slots limits how many requests are sent at once.
const slots = 12

// measure sends each request once for each fault. Each has its own servers, and its own copy
// of the proxy's configuration: what a proxy has learned about other servers does not
// matter.
func measure(ctx context.Context, p proxy, faults []fault, requests []request) (result table, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var cells []*cell
	for _, f := range faults {
		for _, r := range requests {
			b, err := startBackend(ctx, f)
			if err != nil {
				return nil, err
			}
			cells = append(cells, &cell{backend: b, request: r})
		}
	}
	send := transport
	if p.start != nil {
		stop, err := p.run(ctx, cells)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, stop()) }()
		send = through
	}
	outcomes, err := sendAll(ctx, cells, send)
	for len(outcomes) > 0 {
		result = append(result, outcomes[:len(requests)])
		outcomes = outcomes[len(requests):]
	}
	return result, err
}

func sendAll(ctx context.Context, cells []*cell, send sender) ([]outcome, error) {
	outcomes := make([]outcome, len(cells))
	errs := make([]error, len(cells))
	free := make(chan struct{}, slots)
	var wait sync.WaitGroup
	for i, c := range cells {
		wait.Go(func() {
			free <- struct{}{}
			defer func() { <-free }()
			answer, err := send(ctx, c)
			outcomes[i] = c.backend.stop()
			outcomes[i].answer = answer
			if err != nil {
				errs[i] = fmt.Errorf("%s, %s: %w", c.backend.fault.name, c.request, err)
			}
		})
	}
	wait.Wait()
	return outcomes, errors.Join(errs...)
}

// through sends through a proxy.
func through(ctx context.Context, c *cell) (string, error) {
	return sendOnce(ctx, c.socket, c.backend.fault.reused, c.request)
}

func sendOnce(ctx context.Context, socket string, reused bool, r request) (answer string, err error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	reader := bufio.NewReader(conn)
	if reused {
		// Two, because the proxy has two servers, in turn.
		for range 2 {
			warm := request{method: http.MethodGet}
			if err := warm.write(conn, warmUp); err != nil {
				return "", err
			}
			if answer := read(reader); answer != "200" {
				return "", fmt.Errorf("warming up: %s", answer)
			}
		}
	}
	if err := r.write(conn, "/payments"); err != nil {
		return "", err
	}
	return read(reader), nil
}

// read returns the status of the answer, or says how it is incomplete.
func read(reader *bufio.Reader) string {
	answer, err := http.ReadResponse(reader, nil)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "no answer"
	case err != nil:
		return err.Error()
	}
	defer answer.Body.Close()
	return status(answer)
}

// status reads the body and returns the answer's status.
func status(answer *http.Response) string {
	code := strconv.Itoa(answer.StatusCode)
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return code + " cut"
	}
	return code
}

// transport sends with Go's http.Transport directly to the first server.
func transport(ctx context.Context, c *cell) (string, error) {
	r := c.request
	req, err := http.NewRequestWithContext(ctx, r.method, "/payments", strings.NewReader(r.body))
	if err != nil {
		return "", err
	}
	if r.key != "" {
		req.Header.Set("Idempotency-Key", r.key)
	}
	return roundTrip(c.backend, req)
}

// roundTrip sends a request with a new http.Transport, on a used connection if the fault
// wants one.
func roundTrip(b *backend, req *http.Request) (string, error) {
	rt := &http.Transport{ResponseHeaderTimeout: proxyTimeout}
	defer rt.CloseIdleConnections()
	req.URL.Scheme, req.URL.Host = "http", b.addrs[0]
	if b.fault.reused {
		warm := req.Clone(req.Context())
		warm.Method, warm.URL.Path, warm.Body, warm.ContentLength = http.MethodGet, warmUp, nil, 0
		answer, err := rt.RoundTrip(warm)
		if err != nil {
			return "", err
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
	}
	answer, err := rt.RoundTrip(req)
	if err != nil {
		return "no answer", nil // the outcome, not an error of the measurement
	}
	defer answer.Body.Close()
	return status(answer), nil
}
