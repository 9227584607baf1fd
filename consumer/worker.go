package consumer

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// A Worker reads topics as a member of a consumer group and gives each record its
// verdict in a store.
type Worker struct {
	cfg     Config
	vitals  *vitals
	started atomic.Bool
}

// ErrStarted is returned by a second call of Run.
var ErrStarted = errors.New("Run was called twice; create a new worker")

// New creates a worker. It checks the whole configuration and returns all errors at once;
// each of them is an [ErrConfig]. It opens no connections.
func New(cfg Config) (*Worker, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Worker{cfg: cfg, vitals: newVitals(cfg)}, nil
}

// Run consumes until ctx is canceled, and then returns nil. Before it returns, it
// finishes the current batch (or gives it up after Config.ShutdownGrace), commits what is
// settled and leaves the group. If the broker does not answer, committing and leaving
// take up to 15 seconds. No goroutine outlives Run.
//
// Run does not return on trouble with the broker or the database: it logs the error and
// retries for as long as it takes, and commits no offset meanwhile. Run returns errors
// that retrying cannot fix, such as a missing privilege on the framework's tables or a
// refused login. If a Hook or the Logger panics, it returns a [PanicError]. A worker runs
// once.
func (w *Worker) Run(ctx context.Context) error {
	if !w.started.CompareAndSwap(false, true) {
		return ErrStarted
	}
	ended := errGoexit // stays if the goroutine ends before w.run returns
	w.vitals.started()
	defer func() { w.vitals.stopped(ended) }()
	defer startRelay(ctx, w.cfg, w.vitals).stop()
	ended = w.repeat(ctx)
	return ended
}

// repeat runs the worker until a run ends for another reason than errStartOver. It waits between
// runs, longer and longer, because each makes the worker leave and join its group: a pooler may
// alternate between two servers. After a run that settled records or lasted for longer than
// the longest wait, the waits begin again with the shortest.
func (w *Worker) repeat(ctx context.Context) error {
	between := pause{w.cfg.backOff()}
	for {
		began := time.Now()
		if err := w.run(ctx); !errors.Is(err, errStartOver) {
			return err
		}
		w.vitals.startsOver()
		if time.Since(began) > w.cfg.RetryMax || w.vitals.settledSince(began) {
			between.over()
		}
		if !between.wait(ctx) {
			return nil
		}
	}
}

// errGoexit is the error of a worker whose goroutine has ended without returning.
var errGoexit = errors.New("runtime.Goexit or a panic ended the goroutine of Run")

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
	ctx = r.watcher.start(parent)
	r.maintainer.start(ctx)
	r.committer.start()
	defer func() {
		r.watcher.cancel()
		r.maintainer.cancel()
		r.committer.stop()
		r.leave() // closes the client, which the watcher and the maintainer may wait for
		r.maintainer.done.Wait()
		err = cmp.Or(err, r.watcher.wait(), r.cantContinue(panicOf(parent)), causeOf(caller, parent))
	}()
	work, stop := withGrace(ctx, w.cfg.ShutdownGrace)
	defer stop()
	return r.loop(ctx, work)
}

// panicOf returns the panic of a callback if one has canceled ctx.
func panicOf(ctx context.Context) error {
	if err, ok := errors.AsType[*PanicError](context.Cause(ctx)); ok {
		return err
	}
	return nil
}

// causeOf returns the error that the run itself ended for. It returns nil if the caller
// has canceled its context.
func causeOf(caller, run context.Context) error {
	if caller.Err() == nil && run.Err() != nil {
		return context.Cause(run)
	}
	return nil
}

// withGrace returns a context that is canceled a grace period after ctx is. Its cancel
// function waits until the goroutine that does so has ended.
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
