package demo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pawl-go/pawl/examples/payments/internal/traffic"
)

// Colleagues are other writers of the workers' tables. They know nothing of the framework:
// they send plain UPDATEs, and do not raise the version.
type colleagues struct {
	stage  *stage
	ctx    context.Context // until they stop
	cancel context.CancelFunc
	busy   sync.WaitGroup

	mu   sync.Mutex // guards the rest
	made written
	err  error
}

// written is what colleagues have written, or what the tables have of it.
type written struct {
	reviews  map[string]int64  // by payment
	notes    map[string]string // by payment: the last one
	interest map[string]int64  // by account
}

func newWritten() written {
	return written{make(map[string]int64), make(map[string]string), make(map[string]int64)}
}

// pause is the time between two writes of a colleague.
const pause = 500 * time.Microsecond

func startColleagues(ctx context.Context, s *stage) *colleagues {
	c := &colleagues{stage: s, made: newWritten()}
	c.ctx, c.cancel = context.WithCancel(ctx)
	rng := rand.New(rand.NewPCG(s.cfg.Seed, 2))
	c.loop(func(ctx context.Context) error { return c.review(ctx, rng) })
	c.loop(c.payInterest)
	return c
}

// loop calls write until the colleagues stop. A write that has begun is not canceled, so
// that it is known whether it took place.
func (c *colleagues) loop(write func(context.Context) error) {
	c.busy.Go(func() {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for c.ctx.Err() == nil {
			if err := write(context.WithoutCancel(c.ctx)); err != nil {
				c.mu.Lock()
				c.err = errors.Join(c.err, fmt.Errorf("a colleague's update: %w", err))
				c.mu.Unlock()
				return
			}
			<-tick.C
		}
	})
}

// review writes what the risk desk thinks about a payment that is being processed.
func (c *colleagues) review(ctx context.Context, rng *rand.Rand) error {
	const recent = 300
	sent := int(c.stage.sent.Load())
	if sent == 0 {
		return nil
	}
	key := c.stage.traffic.Records[max(0, sent-1-rng.IntN(recent))].Message.Payment
	note := fmt.Sprintf("risk %d of 1000", rng.IntN(1000))
	tag, err := c.stage.pool.Exec(ctx, `
UPDATE payments.payments SET risk_note = $2, risk_reviews = risk_reviews + 1, updated_by = 'risk desk' WHERE id = $1`, key, note)
	if err != nil || tag.RowsAffected() == 0 {
		return err // there is no such payment yet
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.made.reviews[key]++
	c.made.notes[key] = note
	return nil
}

// payInterest adds to the balance of the house accounts, which transfers change at the same
// time: the workers and this colleague compute the same column.
func (c *colleagues) payInterest(ctx context.Context) error {
	for _, key := range c.stage.traffic.Accounts {
		if !traffic.House(key) {
			continue
		}
		tag, err := c.stage.pool.Exec(ctx, `
UPDATE payments.accounts SET balance = balance + 1, interest = interest + 1, updated_by = 'interest run' WHERE id = $1`, key)
		if err != nil {
			return err
		}
		c.mu.Lock()
		c.made.interest[key] += tag.RowsAffected()
		c.mu.Unlock()
	}
	return nil
}

// stop stops the colleagues and returns what went wrong.
func (c *colleagues) stop() error {
	c.cancel()
	c.busy.Wait()
	return c.err
}

// written returns what the colleagues have written. They must have stopped.
func (c *colleagues) written() written { return c.made }
