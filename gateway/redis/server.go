package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// leastVersion is the first major version of Redis with SET NX GET and with scripts that may
// write although the server is full.
const leastVersion = 7

// checkServers returns an [EvictionError] or [VersionError] if one of the servers is unfit.
func checkServers(ctx context.Context, client rueidis.Client) error {
	nodes := client.Nodes()
	if len(nodes) == 0 {
		return errors.New("redis: the client knows no server")
	}
	var errs []error
	for server, node := range nodes {
		errs = append(errs, checkServer(ctx, server, node))
	}
	return errors.Join(errs...)
}

func checkServer(ctx context.Context, server string, node rueidis.Client) error {
	info, err := node.Do(ctx, node.B().Info().Build()).ToString()
	if err != nil && code(err) == "" {
		return fmt.Errorf("ask redis server %s for its settings: %w", server, err)
	}
	version, policy := field(info, "redis_version"), field(info, "maxmemory_policy")
	if policy == "" {
		if policy, err = configured(ctx, node); err != nil {
			return fmt.Errorf("redis server %s allows neither INFO nor CONFIG GET, so its maxmemory-policy is unknown (see Config.TrustServer): %w", server, err)
		}
	}
	return fitness(server, version, policy)
}

// fitness returns why a server is unfit, or nil. A version that is unknown is accepted.
func fitness(server, version, policy string) error {
	if policy != "noeviction" {
		return &EvictionError{Server: server, Policy: policy}
	}
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err == nil && n < leastVersion {
		return &VersionError{Server: server, Version: version}
	}
	return nil
}

// configured asks for the policy with CONFIG GET, which managed servers mostly forbid.
func configured(ctx context.Context, node rueidis.Client) (string, error) {
	settings, err := node.Do(ctx, node.B().ConfigGet().Parameter("maxmemory-policy").Build()).AsStrMap()
	if err == nil && settings["maxmemory-policy"] == "" {
		err = errors.New("the answer to CONFIG GET lacks it")
	}
	return settings["maxmemory-policy"], err
}

// field returns a field of an answer to INFO.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if key, value, ok := strings.Cut(line, ":"); ok && key == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// check returns the reason why the servers are unfit, or nil. One caller asks them again
// when the last check was Config.CheckEvery ago. A server that can't be asked changes
// nothing: its commands will fail by themselves.
func (b *Backend) check(ctx context.Context) error {
	if b.cfg.TrustServer {
		return nil
	}
	due, now := b.due.Load(), int64(time.Since(b.start))
	if now >= due && b.due.CompareAndSwap(due, now+int64(b.cfg.CheckEvery)) {
		b.recheck(ctx)
	}
	if unfit := b.unfit.Load(); unfit != nil {
		return *unfit
	}
	return nil
}

func (b *Backend) recheck(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.cfg.Timeout)
	defer cancel()
	err := checkServers(ctx, b.cfg.Client)
	_, evicts := errors.AsType[*EvictionError](err)
	_, old := errors.AsType[*VersionError](err)
	switch {
	case evicts, old:
		if b.unfit.Swap(&err) == nil {
			b.cfg.Logger.ErrorContext(ctx, "the Redis server is unfit; it is not used until that is corrected", "error", err)
		}
	case err != nil:
		b.cfg.Logger.WarnContext(ctx, "the settings of the Redis server could not be checked", "error", err)
	default:
		if b.unfit.Swap(nil) != nil {
			b.cfg.Logger.InfoContext(ctx, "the Redis server is fit again")
		}
	}
}
