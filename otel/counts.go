package otel

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/pawl-go/pawl/versioning"
)

// countTimeout limits one count. keepCounts is for how many intervals counts are shown after the
// last one that has succeeded.
const (
	countTimeout = 10 * time.Second
	keepCounts   = 5
)

// counts are what Run has counted last. They are safe for concurrent use.
type counts struct {
	mu sync.Mutex
	at time.Time // zero before the first
	versioning.StoredCounts
}

func (c *counts) set(now versioning.StoredCounts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.StoredCounts = time.Now(), now
}

// get returns the counts, unless they are too old.
func (c *counts) get(within time.Duration) (now versioning.StoredCounts, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.StoredCounts, !c.at.IsZero() && time.Since(c.at) <= within
}

// Run counts what waits in Config.Store, every Config.CountEvery, until ctx is canceled. If a count
// fails, it logs why and tries again after the same time; if that goes on, the metrics end, so that
// nobody takes old numbers for new ones. Without a Store it returns at once.
func (o *Observer) Run(ctx context.Context) {
	if o.cfg.Store == nil {
		return
	}
	ticker := time.NewTicker(o.cfg.CountEvery)
	defer ticker.Stop()
	for {
		o.count(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (o *Observer) count(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	switch now, err := o.cfg.Store.CountStored(limited); {
	case err == nil:
		o.counts.set(now)
	case ctx.Err() == nil:
		o.cfg.Logger.Warn("what is stored can't be counted for metrics; trying again", "group", o.cfg.Group, "error", err)
	}
}

// watchStore makes the metrics of Config.Store.
func (o *Observer) watchStore() error {
	if o.cfg.Store == nil {
		return nil
	}
	m := &instrumentMaker{meter: o.meter}
	parked := m.gauge("pawl.parked", "{record}", "Parked records, up to 10,000.")
	parkedAge := m.seconds("pawl.parked.age", "How long the oldest parked record has waited.")
	dead := m.gauge("pawl.dead_letters", "{record}", "Dead letters, up to 10,000.")
	messages := m.gauge("pawl.outbox.messages", "{message}", "Messages in the outbox, of up to 10,000 packs.")
	age := m.seconds("pawl.outbox.age", "Age of the oldest message in the outbox.")
	unsent := m.gauge("pawl.outbox.unsent", "{message}", "Unsent messages, up to 10,000.")
	contended := m.counter("pawl.contended", "{attempt}", "Attempts that had to begin again because another writer had changed the rows.")
	return m.register(o, func(to metric.Observer) {
		to.ObserveInt64(contended, o.cfg.Store.Contended(), o.series.base)
		now, ok := o.counts.get(keepCounts * o.cfg.CountEvery)
		if !ok {
			return
		}
		for _, c := range now.Machines {
			of := o.with(machineKey.String(c.Machine))
			if c.Machine != "" {
				of = o.with(machineKey.String(o.records.machines.bound(c.Machine)))
				to.ObserveInt64(parked, c.Parked, of)
				to.ObserveFloat64(parkedAge, c.ParkedAge.Seconds(), of)
			}
			to.ObserveInt64(dead, c.DeadLetters, of)
		}
		to.ObserveInt64(messages, now.Outbox.Messages, o.series.base)
		to.ObserveFloat64(age, now.Outbox.Age.Seconds(), o.series.base)
		to.ObserveInt64(unsent, now.Outbox.Unsent, o.series.base)
	})
}
