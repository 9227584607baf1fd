package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/embedded"
	"github.com/pawl-go/pawl/internal/testdb"
	"github.com/pawl-go/pawl/internal/testenv"
)

const (
	topic = "payments"
	group = "payment-workers"

	serverKills = 8
	workerKills = 4
	atATime     = 8 // payments

	// stuckAfter is when the test gives up. It takes a tenth of that.
	stuckAfter = time.Minute
)

// TestBehindHAProxy moves payments by requests through HAProxy, which impatient clients send
// again and again, and by records, some of which are in the topic twice. Meanwhile the processes
// that serve and work are killed and started again. Everything must take effect once, and each
// repeat must get the first response.
func TestBehindHAProxy(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("haproxy"); err != nil {
		t.Skipf("needs haproxy (apt-get install haproxy): %v", err)
	}
	p := startProxied(t)
	ctx, cancel := context.WithTimeout(t.Context(), stuckAfter)
	defer cancel()
	p.run(ctx, t)
	p.end(ctx, t)
	p.wantFaults(t)
	violations, err := p.check(t.Context(), p.pool)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range violations[:min(len(violations), 20)] {
		t.Error(v)
	}
	if len(violations) > 0 {
		t.Fatalf("%d violations", len(violations))
	}
	p.checkNotices(t)
}

// A proxied is two processes with the HTTP API behind HAProxy, and a worker process.
type proxied struct {
	site
	servers [2]*program
	worker  *program
	proxy   *program
	said    said

	brokers []string
	client  *kgo.Client
	admin   *kadm.Client
	sent    atomic.Int64 // records

	mu     sync.Mutex
	ledger map[string][]*move // by payment
}

// startProxied starts everything.
func startProxied(t *testing.T) *proxied {
	t.Helper()
	p := &proxied{ledger: make(map[string][]*move)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the processes have printed:\n%s", &p.said)
		}
	})
	p.pool = testenv.Pool(t, migrated)
	p.openKafka(t)
	database := "DATABASE_URL=" + p.pool.Config().ConnString()
	var addrs [2]string
	for i := range p.servers {
		addrs[i] = testenv.FreeAddress(t)
		p.servers[i] = &program{
			args: []string{"serve", "--listen", addrs[i]}, env: []string{database, "API_CALLERS=shop=shop-token"},
			network: "tcp", addr: addrs[i], said: &p.said,
		}
	}
	p.worker = &program{args: []string{
		"worker", "--with-parent", "--session-timeout=500ms",
		"--brokers=" + strings.Join(p.brokers, ","), "--topic=" + topic, "--group=" + group,
	}, env: []string{database}, said: &p.said}
	p.proxy = haproxy(t, &p.said, addrs)
	for _, program := range []*program{p.servers[0], p.servers[1], p.worker, p.proxy} {
		t.Cleanup(program.close)
		if err := program.up(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, p.proxy.network, p.proxy.addr)
		},
		MaxIdleConnsPerHost: 100,
	}
	t.Cleanup(transport.CloseIdleConnections)
	p.url, p.site.client.Transport = "http://payments", transport
	return p
}

// openKafka starts a broker in this process. The group must notice a killed worker soon.
func (p *proxied) openKafka(t *testing.T) {
	t.Helper()
	kafka, err := embedded.StartKafka(embedded.KafkaConfig{
		Topics:  map[string]int32{topic: 3},
		Options: []kfake.Opt{kfake.GroupMinSessionTimeout(100 * time.Millisecond)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kafka.Close() }) // always nil
	p.brokers = kafka.Brokers()
	if p.client, err = kgo.NewClient(kgo.SeedBrokers(p.brokers...)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.client.Close)
	p.admin = kadm.NewClient(p.client)
}

// run moves payments until the processes have been killed often enough.
func (p *proxied) run(ctx context.Context, t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	killed := make(chan struct{})
	var killing, moving sync.WaitGroup
	for _, kill := range []func(context.Context) error{p.killServers, p.killWorker} {
		killing.Go(func() {
			if err := kill(ctx); err != nil {
				t.Error(err)
				cancel()
			}
		})
	}
	go func() {
		defer close(killed)
		killing.Wait()
	}()
	var payments atomic.Int64
	for range atATime {
		moving.Go(func() {
			for !isClosed(killed) {
				if err := p.move(ctx, fmt.Sprintf("p%d", payments.Add(1))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	moving.Wait()
	<-killed
	if t.Failed() {
		t.FailNow()
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// settled returns how many records the group has committed.
func (p *proxied) settled(ctx context.Context) (n int64, err error) {
	offsets, err := p.admin.FetchOffsetsForTopics(ctx, group, topic)
	if errors.Is(err, kerr.GroupIDNotFound) { // no worker has joined it yet
		return 0, nil
	}
	for _, o := range offsets[topic] {
		n += max(o.At, 0)
		err = errors.Join(err, o.Err)
	}
	return n, err
}

// end waits until all records are settled and none is parked, repeats some of the requests, and
// stops the processes, which must be ready to stop. A record that was parked while a request
// moved its payment waits for the worker's next sweep, half a second later.
func (p *proxied) end(ctx context.Context, t *testing.T) {
	t.Helper()
	err := testdb.Poll(ctx, 10*time.Millisecond, func() error {
		n, err := p.settled(ctx)
		if sent := p.sent.Load(); err == nil && n != sent {
			err = fmt.Errorf("%d of %d records are settled", n, sent)
		}
		return errors.Join(err, p.wantNone(ctx, `SELECT count(*) FROM pawl.parked`))
	})
	if err != nil {
		t.Error(err) // the check says more
	}
	for _, all := range p.ledger {
		if m := all[rand.IntN(len(all))]; m.route != "" && ctx.Err() == nil {
			p.ask(ctx, m)
		}
	}
	for _, program := range []*program{p.servers[0], p.servers[1], p.worker} {
		if err := program.stop(); err != nil {
			t.Error(err)
		}
	}
	testenv.Eventually(t, 30*time.Second, func() error {
		return p.wantNone(t.Context(), `
SELECT count(*) FROM pg_locks JOIN pg_database AS d ON d.oid = database WHERE datname = current_database() AND locktype = 'advisory'`)
	})
	if s := p.said.String(); strings.Contains(s, "DATA RACE") || strings.Contains(s, "panic:") {
		t.Error("a process has failed")
	}
}

// wantNone returns an error unless a query counts nothing.
func (p *proxied) wantNone(ctx context.Context, query string) error {
	var n int
	err := p.pool.QueryRow(ctx, query).Scan(&n)
	if err == nil && n > 0 {
		err = fmt.Errorf("%d are left: %s", n, query)
	}
	return err
}

// wantFaults checks that the test has tested something.
func (p *proxied) wantFaults(t *testing.T) {
	t.Helper()
	var requests, sends, repeats, late, records, twice int
	for _, all := range p.ledger {
		for _, m := range all {
			if m.route == "" {
				records++
				twice += m.copies - 1
				continue
			}
			requests++
			sends += m.sends
			repeats += m.repeats
			if m.late {
				late++
			}
		}
	}
	t.Logf("%d payments; %d requests, sent %d times, %d repeats, %d whose first answer was lost; %d records, %d of them twice",
		len(p.ledger), requests, sends, repeats, late, records, twice)
	if repeats == 0 || late == 0 || twice == 0 {
		t.Error("something was not tested")
	}
}
