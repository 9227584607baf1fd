package contend

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pawl-go/pawl/bench/internal/traffic"
	"github.com/pawl-go/pawl/statemachine"
)

// What the callers of an HTTP server send.
const (
	First    = "first"    // requests with new keys
	Repeated = "repeated" // requests that were answered before the clock has started
)

// Kept is the number of requests that are repeated: 32 orders of each shard.
const Kept = shards * 32 * 4

// runClients runs an HTTP server and its clients in this process. Each client has one
// connection, and sends one request after another.
func runClients(ctx context.Context, job Job, machine *statemachine.Machine, m *meter) error {
	pool, err := connect(ctx, job.DatabaseURL, shards)
	if err != nil {
		return err
	}
	defer pool.Close()
	service, ok := services[job.Contender]
	if !ok {
		return fmt.Errorf("unknown contender %q", job.Contender)
	}
	handler, err := service(ctx, site{pool: pool, machine: machine, redis: job.Redis})
	if err != nil {
		return err
	}
	address, stop, err := listen(handler)
	if err != nil {
		return err
	}
	defer stop()
	send := sendFirst
	if job.HTTP == Repeated {
		kept, err := keep(ctx, job, address)
		if err != nil {
			return err
		}
		if _, err := pool.Exec(ctx, "VACUUM ANALYZE"); err != nil {
			return err
		}
		send = kept.repeat
	}
	m.start()
	group, ctx := errgroup.WithContext(ctx)
	for i := range job.Callers {
		group.Go(func() error {
			if err := withClient(ctx, address, func(c *client) error { return send(job, i, c, m) }); ctx.Err() == nil {
				return err
			}
			return nil // the end, or the time limit
		})
	}
	return group.Wait()
}

// listen serves a handler on an address of this host.
func listen(handler http.Handler) (address string, stop func(), err error) {
	mux := http.NewServeMux()
	mux.Handle("POST /orders", handler)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }() // ends with stop
	return listener.Addr().String(), func() { _ = server.Close() }, nil
}

// sendFirst sends requests with new keys.
func sendFirst(job Job, i int, c *client, m *meter) error {
	// Each client has several times as many as its share, because some are faster.
	for request, err := range requests(fmt.Sprintf("%s-%d", job.Group, i), job.Records/job.Callers) {
		if err != nil {
			return err
		}
		sent := time.Now()
		if _, err := c.post(request); err != nil {
			return err
		}
		if job.Callers == 1 {
			m.took(sent)
		}
		m.settle(1)
	}
	return nil
}

// requests returns the requests for orders with four events each.
func requests(run string, orders int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for event := range traffic.NewOrders(run, orders) {
			body, err := json.Marshal(event.Message(""))
			request := fmt.Appendf(nil, "POST /orders HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"+
				keyHeader+": \"%s\"\r\nContent-Length: %d\r\n\r\n%s", event.ID, len(body), body)
			if !yield(request, err) {
				return
			}
		}
	}
}

// kept are requests and their responses.
type kept struct{ requests, responses [][]byte }

// keep sends the requests that will be repeated.
func keep(ctx context.Context, job Job, address string) (all kept, err error) {
	var parts [shards]kept
	group, ctx := errgroup.WithContext(ctx)
	for i := range shards {
		group.Go(func() error {
			return withClient(ctx, address, func(c *client) error {
				for request, err := range requests(fmt.Sprintf("%s-%d", job.Group, i), Kept/4/shards) {
					if err != nil {
						return err
					}
					response, err := c.post(request)
					if err != nil {
						return err
					}
					parts[i].requests = append(parts[i].requests, request)
					parts[i].responses = append(parts[i].responses, bytes.Clone(response))
				}
				return nil
			})
		})
	}
	err = group.Wait()
	for _, part := range parts {
		all.requests, all.responses = append(all.requests, part.requests...), append(all.responses, part.responses...)
	}
	return all, err
}

// repeat repeats requests, and compares the responses.
func (k *kept) repeat(_ Job, _ int, c *client, m *meter) error {
	for {
		n := rand.N(len(k.requests))
		response, err := c.post(k.requests[n])
		if err != nil {
			return err
		}
		if !bytes.Equal(response, k.responses[n]) {
			return fmt.Errorf("a repeated request was answered with %q, the first one with %q", response, k.responses[n])
		}
		m.settle(1)
	}
}

// A client is an HTTP client that costs little: it knows what this package's servers send.
type client struct {
	conn net.Conn
	in   *bufio.Reader
	body []byte
}

// withClient calls use with a client whose connection ends with ctx.
func withClient(ctx context.Context, address string, use func(*client) error) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	return errors.Join(use(&client{conn: conn, in: bufio.NewReader(conn)}), conn.Close())
}

// post sends a request, and returns the body of its response until the next one. A status
// other than 200 is an error.
func (c *client) post(request []byte) (body []byte, err error) {
	if _, err := c.conn.Write(request); err != nil {
		return nil, err
	}
	var status []byte
	length := -1
	for n := 0; ; n++ {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if n == 0 {
			status = bytes.Clone(line)
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return nil, err
			}
		}
		if len(line) == 0 {
			break
		}
	}
	if length < 0 {
		return nil, fmt.Errorf("%s: a response without Content-Length", status)
	}
	c.body = append(c.body[:0], make([]byte, length)...)
	if _, err := io.ReadFull(c.in, c.body); err != nil {
		return nil, err
	}
	if !bytes.Equal(status, []byte("HTTP/1.1 200 OK")) {
		return nil, fmt.Errorf("%s: %s", status, c.body)
	}
	return c.body, nil
}
