package jobs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// A Provider is a service that handlers call, with the limits for calling it. Handlers that
// call the same service share one. The limits hold in this process: divide those of the
// service by the number of processes. Do not copy or change a Provider after its first use.
type Provider struct {
	// Name is for logs and errors. Required.
	Name string

	// Concurrency limits the number of calls at a time. 0 means no limit but River's: the
	// MaxWorkers of the queue.
	Concurrency int

	// Rate limits the number of calls a second, over time. 0 means no limit.
	Rate float64

	// Burst is the number of calls that may begin at once after a pause, if Rate is set. 0
	// means 1.
	Burst int

	// Timeout limits the time of one call: its context ends then. 0 means 30 seconds.
	Timeout time.Duration

	once  sync.Once
	slots chan struct{} // holds a value for each call that runs; nil means no limit
	rate  *rate.Limiter // nil means no limit

	mu    sync.Mutex
	until time.Time // no calls before; guarded by mu
}

const (
	defaultTimeout = 30 * time.Second

	// maxWait limits how long a job waits for its turn while it occupies a worker of River.
	// After that it is put back.
	maxWait = 10 * time.Second
)

// validate returns all problems of the configuration.
func (p *Provider) validate() error {
	var problems []error
	check := func(bad bool, format string, args ...any) {
		if bad {
			problems = append(problems, fmt.Errorf("provider %q: "+format, append([]any{p.Name}, args...)...))
		}
	}
	check(p.Name == "", "it has no Name")
	check(p.Concurrency < 0, "Concurrency is %d; it must not be negative", p.Concurrency)
	check(!(p.Rate >= 0), "Rate is %v; it must not be negative", p.Rate)
	check(p.Burst < 0, "Burst is %d; it must not be negative", p.Burst)
	check(p.Timeout < 0, "Timeout is %v; it must not be negative", p.Timeout)
	return errors.Join(problems...)
}

func (p *Provider) init() {
	p.once.Do(func() {
		if p.Concurrency > 0 {
			p.slots = make(chan struct{}, p.Concurrency)
		}
		if p.Rate > 0 {
			p.rate = rate.NewLimiter(rate.Limit(p.Rate), max(p.Burst, 1))
		}
	})
}

func (p *Provider) timeout() time.Duration {
	if p.Timeout == 0 {
		return defaultTimeout
	}
	return p.Timeout
}

// A busyError says that it is not a job's turn yet.
type busyError struct{ wait time.Duration }

func (e *busyError) Error() string { return fmt.Sprintf("the provider takes no call for %v", e.wait) }

// enter waits until a call may begin. The caller must call leave when the call has ended. If
// that takes more than maxWait, enter returns a busyError.
func (p *Provider) enter(ctx context.Context) (leave func(), err error) {
	p.init()
	deadline := time.Now().Add(maxWait)
	leave = func() {}
	if p.slots != nil {
		if err := p.takeSlot(ctx, deadline); err != nil {
			return nil, err
		}
		leave = func() { <-p.slots }
	}
	if err := p.takeTurn(ctx, deadline); err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

func (p *Provider) takeSlot(ctx context.Context, deadline time.Time) error {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return &busyError{time.Second}
	}
}

// takeTurn waits until the provider is not paused and the rate allows a call.
func (p *Provider) takeTurn(ctx context.Context, deadline time.Time) error {
	for {
		p.mu.Lock()
		until := p.until
		p.mu.Unlock()
		now := time.Now()
		if until.After(now) {
			if until.After(deadline) {
				return &busyError{until.Sub(now)}
			}
			if err := sleep(ctx, until.Sub(now)); err != nil {
				return err
			}
			continue // it may have been paused again
		}
		if p.rate == nil {
			return ctx.Err()
		}
		turn := p.rate.ReserveN(now, 1)
		wait := turn.DelayFrom(now)
		if now.Add(wait).After(deadline) {
			turn.CancelAt(now)
			return &busyError{wait}
		}
		if err := sleep(ctx, wait); err != nil {
			turn.Cancel()
			return err
		}
		return nil
	}
}

// pause keeps calls from beginning for a time.
func (p *Provider) pause(wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if until := time.Now().Add(wait); until.After(p.until) {
		p.until = until
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
