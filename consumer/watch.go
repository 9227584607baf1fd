package consumer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	watchCalm    = time.Minute     // between checks while they find no trouble
	watchTrouble = 5 * time.Second // between checks otherwise
	watchTimeout = 5 * time.Second // for one check
)

// A watcher periodically checks whether a broker answers and whether the topics exist,
// because the client waits for both without reporting it. It runs in a separate goroutine.
type watcher struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
	err    error // belongs to the goroutine until done
}

// startWatch starts a watcher. It returns a context that is canceled when the watcher finds
// an error that retrying cannot fix.
func (r *run) startWatch(ctx context.Context) (context.Context, *watcher) {
	w := new(watcher)
	ctx, w.cancel = context.WithCancel(ctx)
	w.done.Go(func() {
		defer w.cancel()
		w.err = r.watch(ctx)
	})
	return ctx, w
}

// wait waits for the watcher to end and returns its error. The client must be closed first:
// canceling the context does not end a request to a broker that does not answer.
func (w *watcher) wait() error {
	w.done.Wait()
	return w.err
}

func (r *run) watch(ctx context.Context) error {
	for {
		ok, err := r.check(ctx)
		if err != nil {
			return err
		}
		next := watchTrouble
		if ok {
			next = watchCalm
		}
		if !r.sleepAndLog(ctx, next) {
			return nil
		}
	}
}

// sleepAndLog sleeps. Meanwhile it logs if the worker makes no progress although nothing has
// failed; the code that fails logs its own errors. It returns false if ctx ended first.
func (r *run) sleepAndLog(ctx context.Context, d time.Duration) bool {
	for ; d > 0; d -= watchTrouble {
		switch h := r.vitals.health(); h.Reason {
		case reasonStalled:
			r.log.stalled(h)
		case reasonHeldUp:
			r.log.heldUp(h)
		}
		if !sleep(ctx, min(d, watchTrouble)) {
			return false
		}
	}
	return true
}

// check checks the broker, the topics and the ends of the partitions. It returns an error
// only if retrying cannot fix it.
func (r *run) check(run context.Context) (ok bool, err error) {
	ctx, cancel := context.WithTimeout(run, watchTimeout)
	defer cancel()
	// A ping does not retry, so its error says more than that of a request.
	if err := r.client.Ping(ctx); err != nil {
		if run.Err() != nil {
			return false, nil
		}
		r.vitals.noBroker(err)
		r.log.noBroker(r.client, err, r.vitals.health())
		return false, r.fatal(err, "")
	}
	r.vitals.brokerAnswers()
	r.log.broker()
	response, err := r.askTopics(ctx, r.client)
	if err != nil {
		if run.Err() != nil {
			return false, nil
		}
		return false, r.fatal(err, "")
	}
	ok, err = r.checkTopics(response.Topics)
	return ok && r.checkEnds(ctx), err
}

// checkEnds checks whether open transactions hide the ends of partitions.
func (r *run) checkEnds(ctx context.Context) (ok bool) {
	found, err := r.askEnds(ctx)
	if err != nil {
		return false
	}
	r.partitions.survey(found)
	return !r.partitions.isHeldUp()
}

func (r *run) checkTopics(topics []kmsg.MetadataResponseTopic) (ok bool, err error) {
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
			r.log.noTopic(*t.Topic)
		}
		err = errors.Join(err, r.fatal(problem, *t.Topic))
	}
	slices.Sort(missing)
	r.vitals.missTopics(missing)
	return ok, err
}
