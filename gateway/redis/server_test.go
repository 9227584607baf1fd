package redis_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/redis"
	"github.com/pawl-go/pawl/internal/testenv"
)

func TestEvictingServerIsRefused(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	client := connect(t, server)
	policies := []string{
		"allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl",
	}
	for _, policy := range policies {
		do(t, client, "CONFIG", "SET", "maxmemory-policy", policy)
		_, err := redis.Open(t.Context(), redis.Config{Client: client})
		eviction, ok := errors.AsType[*redis.EvictionError](err)
		if !ok || eviction.Policy != policy || eviction.Server != server.Addr {
			t.Errorf("Open with %s: %v, want an EvictionError", policy, err)
			continue
		}
		if !strings.Contains(err.Error(), "CONFIG SET maxmemory-policy noeviction") {
			t.Errorf("the error does not say what to set: %v", err)
		}
	}
}

// TestEvictionIsNoticed changes the policy of a server that is in use.
func TestEvictionIsNoticed(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	client := connect(t, server)
	b := open(t, server, func(cfg *redis.Config) { cfg.CheckEvery = 20 * time.Millisecond })
	mustRelease(t, mustClaim(t, b, "a"))
	do(t, client, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	testenv.Eventually(t, 10*time.Second, func() error {
		run, _, err := b.Begin(t.Context(), key("a"))
		if run != nil {
			mustRelease(t, run)
		}
		_, evicts := errors.AsType[*redis.EvictionError](err)
		_, unavailable := errors.AsType[*gateway.UnavailableError](err)
		if !evicts || !unavailable {
			return fmt.Errorf("Begin: %w, want an EvictionError in an UnavailableError", err)
		}
		return nil
	})
	do(t, client, "CONFIG", "SET", "maxmemory-policy", "noeviction")
	testenv.Eventually(t, 10*time.Second, func() error {
		run, _, err := b.Begin(t.Context(), key("a"))
		if err != nil {
			return err
		}
		return run.Release(t.Context())
	})
}

// TestManagedServers uses servers that forbid INFO, CONFIG, or both.
func TestManagedServers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		forbidden string
		trust, ok bool
	}{
		{forbidden: "-config", ok: true},
		{forbidden: "-info", ok: true},
		{forbidden: "-config -info"},
		{forbidden: "-config -info", trust: true, ok: true},
	} {
		server := startRedis(t)
		admin := connect(t, server)
		do(t, admin, append([]string{"ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all"}, strings.Fields(test.forbidden)...)...)
		client, err := rueidis.NewClient(rueidis.ClientOption{
			InitAddress: []string{server.Addr}, Username: "app", Password: "secret", DisableCache: true, ForceSingleClient: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		b, err := redis.Open(t.Context(), redis.Config{Client: client, TrustServer: test.trust})
		if (err == nil) != test.ok {
			t.Errorf("%s, trusted: %t: %v", test.forbidden, test.trust, err)
		}
		if err == nil {
			mustFinish(t, mustClaim(t, b, "a"), "x")
		}
		do(t, admin, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
		_, err = redis.Open(t.Context(), redis.Config{Client: client})
		if _, evicts := errors.AsType[*redis.EvictionError](err); evicts != (test.forbidden != "-config -info") {
			t.Errorf("%s, and a server that evicts: %v", test.forbidden, err)
		}
	}
}

// fill makes the server as full as it can be: it uses more memory than it may.
func fill(t *testing.T, client rueidis.Client) {
	t.Helper()
	do(t, client, "CONFIG", "SET", "maxmemory", "100kb")
}

// TestFullServer checks that a full server lets in no new request, and forgets none.
func TestFullServer(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	client, b := connect(t, server), open(t, server, short)
	mustFinish(t, mustClaim(t, b, "before"), "first")
	finished, released, renewed := mustClaim(t, b, "finished"), mustClaim(t, b, "released"), mustClaim(t, b, "renewed")
	fill(t, client)

	_, _, err := b.Begin(t.Context(), key("new"))
	if _, ok := errors.AsType[*gateway.UnavailableError](err); !ok || !errors.Is(err, redis.ErrFull) {
		t.Errorf("Begin on a full server: %v, want ErrFull in an UnavailableError", err)
	}
	mustBeStored(t, b, "before", "first")
	mustBusy(t, b, "renewed")
	mustFinish(t, finished, strings.Repeat("x", 10_000))
	mustBeStored(t, b, "finished", strings.Repeat("x", 10_000))
	mustRelease(t, released)
	for begin := time.Now(); time.Since(begin) < 2*600*time.Millisecond; {
		mustBusy(t, b, "renewed") // the lock lives on
	}
	mustFinish(t, renewed, "first")
	mustBeStored(t, b, "renewed", "first")

	do(t, client, "CONFIG", "SET", "maxmemory", "0")
	mustFinish(t, mustClaim(t, b, "new"), "first")
}
