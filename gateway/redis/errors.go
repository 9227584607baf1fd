package redis

import (
	"errors"
	"fmt"
	"strings"

	"github.com/redis/rueidis"
)

var (
	// ErrFull matches the reason of a [gateway.UnavailableError] if the server has reached its
	// maxmemory. Nothing has run. Raise maxmemory, or shorten Config.ResponseTTL.
	ErrFull = errors.New("redis has no memory left (maxmemory)")

	// ErrLeaseLost is the cause of the handler's context if the lock of a running request is
	// gone: the server could not be reached for as long as the lease, or somebody else has
	// the lock. Finish then returns an error that matches it and gateway.ErrFateUnknown.
	ErrLeaseLost = errors.New("the lock of the request was lost while its handler ran")
)

// errForeign says that the key of a response holds neither a lock nor a response.
var errForeign = errors.New("redis: the key of a response holds something else")

// An EvictionError says that a server may delete locks and responses when it is full.
type EvictionError struct {
	Server string // its address
	Policy string // its maxmemory-policy
}

func (e *EvictionError) Error() string {
	return fmt.Sprintf("redis server %s has maxmemory-policy %s, so it may delete keys that are in use; set it to noeviction, "+
		"with CONFIG SET maxmemory-policy noeviction and in redis.conf, or in the parameter group of a managed server", e.Server, e.Policy)
}

// A VersionError says that a server is too old.
type VersionError struct {
	Server  string // its address
	Version string // as it reports
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("redis server %s has version %s; 7.0 or later is needed", e.Server, e.Version)
}

// code returns the code of an error reply, which is its first word: OOM, READONLY, LOADING.
// It is empty for other errors.
func code(err error) string {
	reply, ok := rueidis.IsRedisErr(err)
	if !ok || reply.IsNil() {
		return ""
	}
	first, _, _ := strings.Cut(reply.Error(), " ")
	return first
}

// full reports whether the server refused a command because it has no memory left.
func full(err error) bool { return code(err) == "OOM" }
