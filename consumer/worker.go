package consumer

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// A Worker consumes topics as a member of a group and keeps the entities behind
// them in a store.
type Worker struct {
	cfg     Config
	vitals  *vitals
	started atomic.Bool
}

// ErrStarted is returned by a second call of Run.
var ErrStarted = errors.New("worker was started before; make a new one")

// New makes a worker. It checks the whole configuration and reports all that is
// wrong with it at once; each of its errors is an [ErrConfig]. It connects to
// nothing.
func New(cfg Config) (*Worker, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Worker{cfg: cfg, vitals: newVitals(cfg)}, nil
}

// Run consumes until ctx is done, and then returns nil: it finishes the batch in
// hand (or abandons it, after Config.ShutdownGrace), commits what is done and
// leaves the group. With a broker that does not answer, the last two take up to a
// quarter of a minute. No goroutine outlives Run.
//
// Trouble with the broker or the database does not end Run: it is logged and
// retried for as long as it takes, and no offset is committed meanwhile. What no
// retry can mend does: a missing right on the framework's tables, a refused login. So does a
// panic of a Hook or of the Logger, a [PanicError]. A worker runs once.
func (w *Worker) Run(ctx context.Context) error {
	if !w.started.CompareAndSwap(false, true) {
		return ErrStarted
	}
	ended := errGoexit // unless Run gets to its end
	w.vitals.started()
	defer func() { w.vitals.stopped(ended) }()
	for ended = w.run(ctx); errors.Is(ended, errStartOver); ended = w.run(ctx) {
		w.vitals.startsOver()
	}
	return ended
}

// errGoexit is what is told of a worker whose goroutine was ended under it.
var errGoexit = errors.New("the goroutine of Run was ended by runtime.Goexit or a panic")

func (w *Worker) run(ctx context.Context) (err error) {
	if ctx.Err() != nil {
		return nil
	}
	caller := ctx
	parent, end := context.WithCancelCause(caller)
	defer end(nil)
	r, err := newRun(ctx, end, w.cfg, w.vitals)
	if err != nil {
		return err
	}
	r.log.stepwise(w.cfg.Store)
	ctx, watcher := r.startWatch(parent)
	maintainer := r.startMaintenance(ctx)
	committer := r.startCommits()
	defer func() {
		watcher.cancel()
		maintainer.cancel()
		committer.stop()
		r.leave() // closes the client, which the two may be waiting for
		maintainer.done.Wait()
		err = cmp.Or(err, watcher.wait(), r.cantGoOn(panicOf(parent)), causeOf(caller, parent))
	}()
	work, stop := withGrace(ctx, w.cfg.ShutdownGrace)
	defer stop()
	return r.loop(ctx, work)
}

// panicOf returns the panic of a callback that has ended a context.
func panicOf(ctx context.Context) error {
	if err, ok := errors.AsType[*PanicError](context.Cause(ctx)); ok {
		return err
	}
	return nil
}

// causeOf returns what has ended a run from within, unless the caller has ended it.
func causeOf(caller, run context.Context) error {
	if caller.Err() == nil && run.Err() != nil {
		return context.Cause(run)
	}
	return nil
}

// withGrace returns a context that ends a while after ctx does. Its cancel
// function waits for the goroutine that this takes.
func withGrace(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-work.Done():
		}
	})
	return work, func() {
		cancel()
		if !stop() {
			<-done
		}
	}
}
