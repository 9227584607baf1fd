package consumer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pawl-go/pawl/internal/pace"
)

const (
	watchCalm    = time.Minute     // between checks while they find no trouble
	watchTrouble = 5 * time.Second // between checks otherwise
	watchTimeout = 5 * time.Second // for one check
)

// A watcher periodically checks whether a broker answers and whether the topics exist,
// because the client waits for both without reporting it. It runs in a separate goroutine.
type watcher struct {
	*shared

	cancel context.CancelFunc
	done   sync.WaitGroup
	err    error // belongs to the goroutine until done
}

// start starts the watcher. It returns a context that is canceled when the watcher finds an
// error that retrying cannot fix.
func (w *watcher) start(ctx context.Context) context.Context {
	ctx, w.cancel = context.WithCancel(ctx)
	w.done.Go(func() {
		defer w.cancel()
		w.err = w.watch(ctx)
	})
	return ctx
}

// wait waits for the watcher to end and returns its error. The client must be closed first:
// canceling the context does not end a request to a broker that does not answer.
func (w *watcher) wait() error {
	w.done.Wait()
	return w.err
}

func (w *watcher) watch(ctx context.Context) error {
	for {
		ok, err := w.check(ctx)
		if err != nil {
			return err
		}
		next := watchTrouble
		if ok {
			next = watchCalm
		}
		if !w.sleepAndLog(ctx, next) {
			return nil
		}
	}
}

// sleepAndLog sleeps. Meanwhile it logs if the worker makes no progress although nothing has
// failed; the code that fails logs its own errors. It returns false if ctx ended first.
func (w *watcher) sleepAndLog(ctx context.Context, d time.Duration) bool {
	for ; d > 0; d -= watchTrouble {
		switch h := w.vitals.health(); h.Reason {
		case reasonStalled:
			w.log.stalled(h)
		case reasonHeldUp:
			w.log.heldUp(h)
		}
		if !pace.Sleep(ctx, min(d, watchTrouble)) {
			return false
		}
	}
	return true
}

// check checks the broker, the topics and the ends of the partitions. It returns an error
// only if retrying cannot fix it.
func (w *watcher) check(run context.Context) (ok bool, err error) {
	ctx, cancel := context.WithTimeout(run, watchTimeout)
	defer cancel()
	// A ping does not retry, so its error says more than that of a request.
	if err := w.client.Ping(ctx); err != nil {
		if run.Err() != nil {
			return false, nil
		}
		w.vitals.noBroker(err)
		w.log.noBroker(w.client, err, w.vitals.health())
		return false, w.fatal(err, "")
	}
	w.vitals.brokerAnswers()
	w.log.broker()
	response, err := w.broker().metadata(ctx)
	if err != nil {
		if run.Err() != nil {
			return false, nil
		}
		return false, w.fatal(err, "")
	}
	ok, err = w.checkTopics(response.Topics)
	return ok && w.checkEnds(ctx), err
}

// checkEnds checks whether open transactions hide the ends of partitions.
func (w *watcher) checkEnds(ctx context.Context) (ok bool) {
	owned := w.partitions.tenures()
	found, err := w.broker().ends(ctx, owned)
	if err != nil {
		return false
	}
	w.partitions.survey(owned, found)
	return !w.partitions.isHeldUp()
}

func (w *watcher) checkTopics(topics []kmsg.MetadataResponseTopic) (ok bool, err error) {
	ok = true
	var missing []string
	for _, t := range topics {
		problem := kerr.ErrorForCode(t.ErrorCode)
		if problem == nil || t.Topic == nil {
			continue
		}
		ok = false
		if errors.Is(problem, kerr.UnknownTopicOrPartition) {
			missing = append(missing, *t.Topic)
			w.log.noTopic(*t.Topic)
		}
		err = errors.Join(err, w.fatal(problem, *t.Topic))
	}
	slices.Sort(missing)
	w.vitals.missTopics(missing)
	return ok, err
}
