package redis

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/rueidis"
)

// A Config configures a Backend. Client is required; the zero value of every other field is
// useful.
type Config struct {
	// Client is the connection to Redis. The caller closes it. Reads must go to the primary:
	// leave SendToReplicas unset. Set DisableCache: the backend does not use the client's
	// cache, and without it the role needs no right to CLIENT TRACKING. If a failover moves a
	// name in DNS, set ConnLifetime, too: a connection to the former primary would stay, and
	// each command would fail. Clients with sentinels or a cluster find the new primary.
	Client rueidis.Client

	// Prefix is what all keys in Redis begin with. Gateways with the same prefix share their
	// keys. Empty means "pawl:gateway:".
	Prefix string

	// Lease is how long a key stays locked if its process dies. It is renewed while the
	// handler runs, so it limits no handler. 0 means 10 seconds; the least is 100 ms.
	Lease time.Duration

	// ResponseTTL is how long a response is kept. 0 means 24 hours.
	ResponseTTL time.Duration

	// Timeout limits how long one command may take. It is at most a third of Lease. 0 means
	// 500 ms, or a third of Lease if that is less.
	Timeout time.Duration

	// CheckEvery is how often the server's maxmemory-policy is looked at. 0 means a minute.
	CheckEvery time.Duration

	// TrustServer skips the checks of the server's maxmemory-policy and version. It is for
	// servers that allow neither INFO nor CONFIG GET: then nobody notices that keys may be
	// evicted.
	TrustServer bool

	// Logger gets what an operator should know, without keys and responses. nil means no
	// logs.
	Logger *slog.Logger
}

const leastLease = 100 * time.Millisecond

func (c Config) withDefaults() Config {
	if c.Prefix == "" {
		c.Prefix = "pawl:gateway:"
	}
	if c.Lease == 0 {
		c.Lease = 10 * time.Second
	}
	if c.ResponseTTL == 0 {
		c.ResponseTTL = 24 * time.Hour
	}
	if c.Timeout == 0 {
		c.Timeout = min(500*time.Millisecond, c.Lease/3)
	}
	if c.CheckEvery == 0 {
		c.CheckEvery = time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// validate returns everything that is wrong with the configuration.
func (c Config) validate() error {
	var errs []error
	if c.Client == nil {
		errs = append(errs, errors.New("field Client is nil"))
	}
	if c.Lease < leastLease {
		errs = append(errs, fmt.Errorf("field Lease is %v, want at least %v", c.Lease, leastLease))
	}
	if c.ResponseTTL < time.Millisecond {
		errs = append(errs, fmt.Errorf("field ResponseTTL is %v, want at least a millisecond", c.ResponseTTL))
	}
	if c.Timeout < 0 || c.Timeout > c.Lease/3 {
		errs = append(errs, fmt.Errorf("field Timeout is %v, want at most a third of Lease, which is %v", c.Timeout, c.Lease))
	}
	if c.CheckEvery < 0 {
		errs = append(errs, fmt.Errorf("field CheckEvery is %v", c.CheckEvery))
	}
	if len(errs) > 0 {
		return fmt.Errorf("redis: %w", errors.Join(errs...))
	}
	return nil
}
