package contend

import (
	"context"
	"net/http"

	"github.com/redis/rueidis"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/redis"
)

// WithRedis are the contenders that need Redis.
var WithRedis = []string{PawlRedis, PawlRedisTransaction, RedisAlone}

// behindRedis returns a backend with Redis in front, or the backend itself for contenders
// without Redis.
func (s site) behindRedis(ctx context.Context, decider gateway.Backend) (gateway.Backend, error) {
	if s.redis == "" {
		return decider, nil
	}
	fast, err := s.openRedis(ctx)
	if err != nil {
		return nil, err
	}
	return redis.NewHybrid(redis.HybridConfig{Redis: fast, Decider: decider})
}

// redisAlone returns a gateway with Redis alone, in front of a handler that uses Store.Do.
func (s site) redisAlone(ctx context.Context) (http.Handler, error) {
	handler, err := s.do(ctx, false)
	if err != nil {
		return nil, err
	}
	backend, err := s.openRedis(ctx)
	if err != nil {
		return nil, err
	}
	return guarded(backend, handler)
}

// openRedis connects to Redis. The connection ends with the process.
func (s site) openRedis(ctx context.Context) (*redis.Backend, error) {
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.redis}, DisableCache: true, ForceSingleClient: true})
	if err != nil {
		return nil, err
	}
	return redis.Open(ctx, redis.Config{Client: client})
}
