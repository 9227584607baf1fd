package redis_test

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/redis"
	"github.com/pawl-go/pawl/gateway/redis/internal/redisserver"
	"github.com/pawl-go/pawl/internal/testenv"
)

func TestMain(m *testing.M) {
	if addresses, ok := os.LookupEnv(childVariable); ok {
		child(addresses)
		return
	}
	if _, err := exec.LookPath("redis-server"); err != nil {
		_ = flag.Set("test.skip", "^ExampleOpen$") // an example can't skip itself
	}
	testenv.Main(m, testenv.CheckLeaks())
}

// startRedis starts a server for the test. It skips the test if there is none on the machine.
func startRedis(t *testing.T, args ...string) *redisserver.Server {
	t.Helper()
	server, err := redisserver.Run(t.Context(), args...)
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("needs redis-server (apt-get install redis-server)")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// connect returns a client of the server.
func connect(t *testing.T, server *redisserver.Server) rueidis.Client {
	t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr}, DisableCache: true, ForceSingleClient: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// open returns a backend on a new client. Leases are short.
func open(t *testing.T, server *redisserver.Server, change ...func(*redis.Config)) *redis.Backend {
	t.Helper()
	cfg := redis.Config{Client: connect(t, server), Lease: 3 * time.Second}
	for _, f := range change {
		f(&cfg)
	}
	b, err := redis.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func key(value string) gateway.Key {
	return gateway.Key{Tenant: "acme", Route: "POST /orders", Value: value}
}

// mustClaim begins a request whose key must be free.
func mustClaim(t *testing.T, b gateway.Backend, value string) gateway.Run {
	t.Helper()
	run, stored, err := b.Begin(t.Context(), key(value))
	if err != nil || run == nil {
		t.Fatalf("Begin of a free key: %v, %q, %v", run, stored, err)
	}
	return run
}

func mustFinish(t *testing.T, run gateway.Run, text string) {
	t.Helper()
	if err := run.Finish(t.Context(), gateway.Result{Response: []byte(text)}); err != nil {
		t.Fatalf("Finish: %v", err)
	}
}

func mustRelease(t *testing.T, run gateway.Run) {
	t.Helper()
	if err := run.Release(t.Context()); err != nil {
		t.Fatalf("Release: %v", err)
	}
}

func mustBeStored(t *testing.T, b gateway.Backend, value, want string) {
	t.Helper()
	run, stored, err := b.Begin(t.Context(), key(value))
	if run != nil {
		_ = run.Release(t.Context())
	}
	if err != nil || string(stored) != want {
		t.Fatalf("Begin: %v, %q, %v; want the stored %q", run, stored, err, want)
	}
}

func mustBusy(t *testing.T, b gateway.Backend, value string) {
	t.Helper()
	run, stored, err := b.Begin(t.Context(), key(value))
	if _, ok := errors.AsType[*gateway.InProgressError](err); !ok {
		t.Fatalf("Begin: %v, %q, %v; want that it is in progress", run, stored, err)
	}
}

// do runs a command on the server.
func do(t *testing.T, client rueidis.Client, command ...string) rueidis.RedisResult {
	t.Helper()
	result := client.Do(context.Background(), client.B().Arbitrary(command...).Build())
	if err := result.Error(); err != nil && !rueidis.IsRedisNil(err) {
		t.Fatalf("%v: %v", command, err)
	}
	return result
}
