package redis

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/pawl-go/pawl/gateway"
)

// A Backend keeps keys and responses in Redis. It gives handlers no transaction, so it can't
// undo what they did. The package documentation says what that means. It is safe for
// concurrent use.
type Backend struct {
	cfg   Config
	start time.Time // the origin of due; monotonic
	due   atomic.Int64
	unfit atomic.Pointer[error] // nil, or why the servers must not be used
}

var _ gateway.Backend = (*Backend)(nil)

// Open returns a backend. It fails if the configuration is wrong, if a server does not
// answer, or if one is unfit ([EvictionError], [VersionError]). The error lists everything
// that is wrong with the configuration.
func Open(ctx context.Context, cfg Config) (*Backend, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if !cfg.TrustServer {
		if err := checkServers(ctx, cfg.Client); err != nil {
			return nil, err
		}
	}
	b := &Backend{cfg: cfg, start: time.Now()}
	b.due.Store(int64(cfg.CheckEvery))
	return b, nil
}

// Begin claims a key; see [gateway.Backend]. If Redis does not answer, is full or is unfit,
// the error is a [gateway.UnavailableError].
//
// After an error, the claim may have been made all the same, if Redis got the command late.
// Then the key is in progress until the lease has expired.
func (b *Backend) Begin(ctx context.Context, key gateway.Key) (gateway.Run, []byte, error) {
	r, stored, err := b.claim(ctx, key)
	switch {
	case err != nil, r == nil:
		return nil, stored, err
	case ctx.Err() != nil: // the caller has gone
		return nil, nil, errors.Join(ctx.Err(), r.Release(context.WithoutCancel(ctx)))
	}
	return r, nil, nil
}

// claim is Begin, but it returns a claim even if ctx has ended in the meantime. A claim with an
// error may have been made.
func (b *Backend) claim(ctx context.Context, key gateway.Key) (*run, []byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if err := b.check(ctx); err != nil {
		return nil, nil, &gateway.UnavailableError{Err: err}
	}
	r := &run{b: b, key: b.name(key), lock: newLock(b.cfg.Lease), expires: time.Now().Add(b.cfg.Lease)}
	value, free, err := b.lock(ctx, r)
	if full(err) {
		if value, free, err = b.get(ctx, r.key); free {
			err = ErrFull
		}
	}
	switch {
	case err != nil && code(err) == "":
		return r, nil, &gateway.UnavailableError{Err: err}
	case code(err) == "WRONGTYPE":
		return nil, nil, b.foreign("no string")
	case err != nil: // the server has refused the command
		return nil, nil, &gateway.UnavailableError{Err: err}
	case free:
		r.begin()
		return r, nil, nil
	}
	switch held := parse(value); {
	case held.response != nil:
		return nil, held.response, nil
	case held.lease > 0:
		b.limitLock(ctx, r.key, value, held.lease)
		return nil, nil, &gateway.InProgressError{}
	}
	return nil, nil, b.foreign(fmt.Sprintf("a string of %d bytes", len(value)))
}

// foreign returns the error for a key that holds a value of another program.
func (b *Backend) foreign(value string) error {
	return fmt.Errorf("%w: it is %s; no other program may use the prefix %q", errForeign, value, b.cfg.Prefix)
}

// lock sets the run's lock if the key is free: it holds nothing, not even an empty string.
// Otherwise it returns what the key holds. It goes on if ctx is canceled, so that it knows
// whether the lock was set.
func (b *Backend) lock(ctx context.Context, r *run) (value string, free bool, err error) {
	ctx, cancel := b.limit(context.WithoutCancel(ctx))
	defer cancel()
	client := b.cfg.Client
	value, err = client.Do(ctx, client.B().Set().Key(r.key).Value(r.lock).Nx().Get().Px(b.cfg.Lease).Build()).ToString()
	if rueidis.IsRedisNil(err) {
		return "", true, nil
	}
	return value, false, err
}

// limitLock makes sure that somebody else's lock does not live longer than its lease. If that
// fails, the next request with the key tries again.
func (b *Backend) limitLock(ctx context.Context, key, lock string, lease time.Duration) {
	ctx, cancel := b.limit(ctx)
	defer cancel()
	if err := capScript.Exec(ctx, b.cfg.Client, []string{key}, []string{lock, milliseconds(lease)}).Error(); err != nil {
		b.cfg.Logger.DebugContext(ctx, "a lock could not be looked at", "error", err)
	}
}

// get returns what a key holds, if it is not free. Unlike a GET of rueidis it is not
// sent again when the connection breaks: the time is better spent on the database.
func (b *Backend) get(ctx context.Context, key string) (value string, free bool, err error) {
	ctx, cancel := b.limit(ctx)
	defer cancel()
	client := b.cfg.Client
	value, err = client.Do(ctx, client.B().Arbitrary("GET").Keys(key).Build()).ToString()
	if rueidis.IsRedisNil(err) {
		return "", true, nil
	}
	return value, false, err
}

// put stores a new response, whatever the key holds.
func (b *Backend) put(ctx context.Context, key string, encoded []byte) error {
	ctx, cancel := b.limit(ctx)
	defer cancel()
	client := b.cfg.Client
	value := response + rueidis.BinaryString(encoded)
	return client.Do(ctx, client.B().Set().Key(key).Value(value).Px(b.cfg.ResponseTTL).Build()).Error()
}

// keepFound is how long Redis keeps a response that the decider had before. It may expire there
// soon, and must not be answered for much longer. After that, a repeat asks the decider again.
const keepFound = time.Minute

// putFound stores a response that the decider had before, for a short time.
func (b *Backend) putFound(ctx context.Context, key string, encoded []byte) error {
	ctx, cancel := b.limit(ctx)
	defer cancel()
	args := []string{response + rueidis.BinaryString(encoded), milliseconds(min(keepFound, b.cfg.ResponseTTL))}
	return foundScript.Exec(ctx, b.cfg.Client, []string{key}, args).Error()
}

func (b *Backend) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, b.cfg.Timeout)
}

// name returns the name of a key in Redis.
func (b *Backend) name(key gateway.Key) string {
	id := key.ID()
	return b.cfg.Prefix + base64.RawURLEncoding.EncodeToString(id[:])
}
