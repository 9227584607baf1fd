package demo

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// A crew is the workers of one run. If one of them fails, the crew's context is
// canceled with that error as its cause.
type crew struct {
	ctx    context.Context // a crew does not outlive the call that created it
	fail   context.CancelCauseFunc
	stop   context.CancelFunc
	stage  *stage
	group  string
	inside sync.WaitGroup
}

func newCrew(ctx context.Context, s *stage, group string) *crew {
	ctx, fail := context.WithCancelCause(ctx)
	return &crew{ctx: ctx, fail: fail, stop: func() { fail(context.Canceled) }, stage: s, group: group}
}

func (c *crew) job(name string) Job {
	s := c.stage
	return Job{
		Name: name, Brokers: s.brokers, DatabaseURL: s.databaseURL, Topic: s.topic, Group: c.group,
		Shipments: s.shipments, Provider: s.provider.URL(), PayWithin: payWithin, CallTimeout: callTimeout,
		SessionTimeout: s.cfg.SessionTimeout, Logger: s.screen.logger(s.cfg.LogLevel).With("worker", name),
	}
}

// startWorker starts a worker in this process and returns the tally of its verdicts.
func (c *crew) startWorker(name string) *tally {
	t := newTally()
	job := c.job(name)
	job.Hook = t
	c.run(job, c.stage.cfg.Work)
	return t
}

// startCarrier starts a worker of the shipments in this process, in a group.
func (c *crew) startCarrier(group string) {
	job := c.job(carrier)
	job.Topic, job.Group, job.Hook = c.stage.shipments, group, newTally()
	c.run(job, c.stage.cfg.Carry)
}

func (c *crew) run(job Job, work func(context.Context, Job) error) {
	c.inside.Go(func() {
		if err := work(c.ctx, job); err != nil && !errors.Is(err, context.Canceled) {
			c.fail(fmt.Errorf("worker %s: %w", job.Name, err))
		}
	})
}

// stopWorkers stops the workers of this process and waits for them.
func (c *crew) stopWorkers() {
	c.stop()
	c.inside.Wait()
}
