package redis_test

import (
	"context"
	"testing"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/redis"
)

// TestHybridLateReader lets a process that has found a response in PostgreSQL pause until that has
// expired, and another one has stored a new one: Redis keeps the new one.
func TestHybridLateReader(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := open(t, w.server)
	mustFinish(t, mustClaim(t, b, "a"), "old")
	where := name(t, w.client)
	do(t, w.client, "DEL", where)
	late, err := redis.NewHybrid(redis.HybridConfig{Redis: b, Decider: finder(func() []byte {
		do(t, w.client, "SET", where, "Rnew")
		return []byte("old")
	})})
	if err != nil {
		t.Fatal(err)
	}
	mustBeStored(t, late, "a", "old")
	mustBeStored(t, late, "a", "new")
}

// A finder is a decider that has a response for each key.
type finder func() []byte

func (f finder) Begin(context.Context, gateway.Key) (gateway.Run, []byte, error) {
	return nil, f(), nil
}
