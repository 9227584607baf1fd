package redis_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/gatewaytest"
	"github.com/pawl-go/pawl/gateway/redis"
	"github.com/pawl-go/pawl/gateway/redis/internal/redisserver"
)

// A process is a backend whose claims can end without Finish or Release, as those of a killed
// process do.
type process struct {
	gateway.Backend

	client rueidis.Client

	mu   sync.Mutex
	runs []gateway.Run
}

func (p *process) Begin(ctx context.Context, key gateway.Key) (gateway.Run, []byte, error) {
	run, stored, err := p.Backend.Begin(ctx, key)
	if run != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.runs = append(p.runs, run)
	}
	return run, stored, err
}

func TestConformance(t *testing.T) {
	t.Parallel()
	gatewaytest.Test(t, func(t *testing.T) gatewaytest.Subject {
		server := startRedis(t)
		return gatewaytest.Subject{
			Open: func(t *testing.T) gateway.Backend {
				client := connect(t, server)
				cfg := redis.Config{Client: client, Lease: 2 * time.Second}
				b, err := redis.Open(t.Context(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				return &process{Backend: b, client: client}
			},
			Expire: func(t *testing.T) { expireResponses(t, server) },
			Kill:   func(_ *testing.T, b gateway.Backend) { b.(*process).client.Close() },
		}
	})
}

// expireResponses lets all responses expire now.
func expireResponses(t *testing.T, server *redisserver.Server) {
	t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr}, DisableCache: true, ForceSingleClient: true})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	names, err := do(t, client, "KEYS", "*").AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		held, err := do(t, client, "GET", name).ToString()
		if err == nil && strings.HasPrefix(held, "R") {
			do(t, client, "PEXPIRE", name, "0")
		}
	}
}
