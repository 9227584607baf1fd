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
	watchCalm    = time.Minute     // between looks while all is well
	watchTrouble = 5 * time.Second // between looks otherwise
	watchTimeout = 5 * time.Second // for one look
)

// A watcher looks now and then whether a broker answers and whether the topics
// exist: the client waits for both without a word. It has a goroutine of its own.
type watcher struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
	err    error // belongs to the goroutine until it is done
}

// startWatch returns a context that ends if the watcher finds something that
// no retry can mend.
func (r *run) startWatch(ctx context.Context) (context.Context, *watcher) {
	w := new(watcher)
	ctx, w.cancel = context.WithCancel(ctx)
	w.done.Go(func() {
		defer w.cancel()
		w.err = r.watch(ctx)
	})
	return ctx, w
}

// wait waits for the watcher to end and returns what it found. A request to a
// broker that does not answer ends with the client, not with the context.
func (w *watcher) wait() error {
	w.done.Wait()
	return w.err
}

func (r *run) watch(ctx context.Context) error {
	for {
		well, err := r.look(ctx)
		if err != nil {
			return err
		}
		next := watchTrouble
		if well {
			next = watchCalm
		}
		if !r.sleepWatchfully(ctx, next) {
			return nil
		}
	}
}

// sleepWatchfully sleeps, and tells the log in between of a worker that makes no
// progress without anything that failed: what fails is logged where it does.
func (r *run) sleepWatchfully(ctx context.Context, d time.Duration) bool {
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

// look asks the broker for the topics. It returns an error that no retry can
// mend.
func (r *run) look(run context.Context) (well bool, err error) {
	ctx, cancel := context.WithTimeout(run, watchTimeout)
	defer cancel()
	if err := r.client.Ping(ctx); err != nil { // tells more than a request, which retries
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
	well, err = r.lookAtTopics(response.Topics)
	return well && r.lookAtEnds(ctx), err
}

// lookAtEnds looks for partitions that an open transaction holds up.
func (r *run) lookAtEnds(ctx context.Context) (well bool) {
	found, err := r.askEnds(ctx)
	if err != nil {
		return false
	}
	r.partitions.survey(found)
	return !r.partitions.isHeldUp()
}

func (r *run) lookAtTopics(topics []kmsg.MetadataResponseTopic) (well bool, err error) {
	well = true
	var missing []string
	for _, t := range topics {
		problem := kerr.ErrorForCode(t.ErrorCode)
		if problem == nil || t.Topic == nil {
			continue
		}
		well = false
		if errors.Is(problem, kerr.UnknownTopicOrPartition) {
			missing = append(missing, *t.Topic)
			r.log.noTopic(*t.Topic)
		}
		err = errors.Join(err, r.fatal(problem, *t.Topic))
	}
	slices.Sort(missing)
	r.vitals.missTopics(missing)
	return well, err
}
