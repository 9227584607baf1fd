package gatewaytest_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/gatewaytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A process is a handle to a backend that remembers its runs.
type process struct {
	gateway.Backend

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

func TestMemory(t *testing.T) {
	t.Parallel()
	gatewaytest.Test(t, func(*testing.T) gatewaytest.Subject {
		memory := gatewaytest.NewMemory(time.Hour)
		return gatewaytest.Subject{
			Open:   func(*testing.T) gateway.Backend { return &process{Backend: memory} },
			Expire: func(*testing.T) { gatewaytest.Expire(memory) },
			Kill: func(_ *testing.T, b gateway.Backend) {
				for _, run := range b.(*process).runs {
					_ = run.Release(context.Background()) // most have ended
				}
			},
		}
	})
}

// TestMemoryExpires checks how long responses are kept.
func TestMemoryExpires(t *testing.T) {
	t.Parallel()
	for ttl, want := range map[time.Duration]time.Duration{0: 24 * time.Hour, time.Minute: time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			memory, key := gatewaytest.NewMemory(ttl), gateway.Key{Tenant: "acme", Value: "k"}
			begin := func() (gateway.Run, []byte) {
				run, stored, err := memory.Begin(t.Context(), key)
				if err != nil {
					t.Fatal(err)
				}
				return run, stored
			}
			run, _ := begin()
			if err := run.Finish(t.Context(), gateway.Result{Response: []byte("x")}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(want - time.Second) //nolint:forbidigo // a synctest bubble
			if run, stored := begin(); run != nil || string(stored) != "x" {
				t.Errorf("just before %v, the response has expired", want)
			}
			time.Sleep(time.Second) //nolint:forbidigo // a synctest bubble
			if run, _ := begin(); run == nil {
				t.Errorf("after %v, the response is still there", want)
			}
			if memory.Len() != 1 {
				t.Errorf("%d responses", memory.Len())
			}
		})
	}
}
