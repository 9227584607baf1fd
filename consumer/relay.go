package consumer

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/pace"
	"github.com/pawl-go/pawl/relay"
)

// newRelay returns the worker's relay; nil if it has none.
func (c Config) newRelay() (*relay.Relay, error) {
	store, ok := c.Store.(OutboxStore)
	if c.NoRelay || !ok || !store.Emits() {
		return nil, nil //nolint:nilnil // most workers have none
	}
	logger := c.Logger
	if logger == nil {
		logger = slog.Default()
	}
	r, err := relay.New(relay.Config{
		Client:          c.producerOptions(),
		Store:           store,
		TransactionalID: c.TransactionalID,
		ShutdownGrace:   c.ShutdownGrace,
		RetryMin:        c.RetryMin,
		RetryMax:        c.RetryMax,
		Logger:          slog.New(careful{logger.Handler(), func(error) {}}).With("group", c.Group),
	})
	if err != nil {
		return nil, fmt.Errorf("the worker's relay: %w", err)
	}
	return r, nil
}

// producerOptions returns the options of Client that are not about consuming.
func (c Config) producerOptions() (opts []kgo.Opt) {
	for _, opt := range c.Client {
		_, isConsumer := opt.(kgo.ConsumerOpt)
		_, isGroup := opt.(kgo.GroupOpt)
		if !isConsumer && !isGroup {
			opts = append(opts, opt)
		}
	}
	return opts
}

// relayLook is how often the worker looks at its relay's health.
const relayLook = 500 * time.Millisecond

// A relayer runs the worker's relay. It outlives the runs of the worker, and stops after the
// last one, which may still emit messages.
type relayer struct {
	cfg    Config
	vitals *vitals
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func startRelay(ctx context.Context, cfg Config, v *vitals) *relayer {
	r := &relayer{cfg: cfg, vitals: v}
	ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	first, err := cfg.newRelay() // before the worker's client is created from the same options
	r.done.Go(func() { r.run(ctx, first, err) })
	return r
}

func (r *relayer) stop() {
	r.cancel()
	r.done.Wait()
}

// run runs relays until ctx is canceled: a relay gives up on errors that somebody has to fix,
// such as a missing privilege, but the worker goes on.
func (r *relayer) run(ctx context.Context, one *relay.Relay, err error) {
	for {
		if one == nil && err == nil {
			return
		}
		if err == nil {
			err = r.watch(ctx, one)
		}
		if ctx.Err() != nil {
			return
		}
		r.vitals.failedToRelay("", err)
		r.cfg.Logger.Error("messages of the outbox are not published; retrying", "group", r.cfg.Group, "error", err)
		if !pace.Sleep(ctx, r.cfg.RetryMax) {
			return
		}
		one, err = r.cfg.newRelay()
	}
}

// watch runs a relay, and takes over its troubles.
func (r *relayer) watch(ctx context.Context, one *relay.Relay) error {
	ended := make(chan error, 1)
	go func() {
		err := errGoexit
		defer func() { ended <- err }()
		err = one.Run(ctx)
	}()
	ticker := time.NewTicker(relayLook)
	defer ticker.Stop()
	for {
		select {
		case err := <-ended:
			r.vitals.sawRelay(one.Health())
			return err
		case <-ticker.C:
		}
		h := one.Health()
		r.vitals.sawRelay(h)
		switch h.State {
		case relay.Troubled:
			r.vitals.failedToRelay(h.Topic, fmt.Errorf("%s: %w", h.Reason, h.Err))
		case relay.Publishing:
			r.vitals.relays()
		case relay.Starting, relay.Stopped:
		}
	}
}
