package postgres

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/versioning"
)

// A slowStore settles each batch after a second, or not before hold[key] is closed for its
// keys. It records the batches.
type slowStore struct {
	calls *calls
	err   error

	mu      sync.Mutex
	hold    map[string]chan struct{}
	batches []string // the keys of each, in the order in which they began
	running map[string]bool
	clashes int // keys that were in two running batches
	most    int // the most batches that ran at a time
	now     int
}

func newSlowStore() *slowStore {
	s := &slowStore{hold: make(map[string]chan struct{}), running: make(map[string]bool)}
	s.calls = newCalls(s.apply)
	return s
}

func (s *slowStore) apply(ctx context.Context, records []*versioning.Record) (versioning.Result, error) {
	keys := keysOf(records)
	s.mu.Lock()
	s.batches = append(s.batches, strings.Join(keys, " "))
	s.now++
	s.most = max(s.most, s.now)
	var holds []chan struct{}
	unique := slices.Compact(slices.Sorted(slices.Values(keys)))
	for _, key := range unique {
		if s.running[key] {
			s.clashes++
		}
		s.running[key] = true
		if hold := s.hold[key]; hold != nil {
			holds = append(holds, hold)
		}
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.now--
		for _, key := range unique {
			delete(s.running, key)
		}
	}()
	switch {
	case slices.Contains(keys, "panic"):
		panic("oops")
	case slices.Contains(keys, "exit"):
		runtime.Goexit()
	}
	defer func() { // a store may write keys in another form
		for _, r := range records {
			for i := range r.Changes {
				r.Changes[i].Key = "key " + r.Changes[i].Key
			}
		}
	}()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return versioning.Result{}, ctx.Err()
	}
	for _, hold := range holds {
		select {
		case <-hold:
		case <-ctx.Done():
			return versioning.Result{}, ctx.Err()
		}
	}
	if s.err != nil {
		return versioning.Result{}, s.err
	}
	var result versioning.Result
	for _, r := range records {
		result.Outcomes = append(result.Outcomes, versioning.Outcome{Verdict: versioning.Applied, Detail: strings.Join(keysOf([]*versioning.Record{r}), " ")})
	}
	return result, nil
}

func keysOf(records []*versioning.Record) (keys []string) {
	for _, r := range records {
		for _, c := range r.Changes {
			keys = append(keys, c.Key)
		}
	}
	return keys
}

func changeOf(keys ...string) *versioning.Record {
	r := &versioning.Record{Direct: true}
	for _, key := range keys {
		r.Changes = append(r.Changes, versioning.Change{Machine: "m", Key: key})
	}
	return r
}

// begun starts a call and waits until nothing more happens without time. The returned
// function waits for the call and returns its outcome's detail, or its error.
func (s *slowStore) begun(ctx context.Context, keys ...string) (wait func() string) {
	done := make(chan string, 1)
	go func() {
		outcome, err := s.calls.do(ctx, changeOf(keys...))
		if err != nil {
			outcome.Detail = err.Error()
		}
		done <- outcome.Detail
	}()
	synctest.Wait()
	return func() string { return <-done }
}

func (s *slowStore) want(t *testing.T, batches ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if diff := cmp.Diff(batches, s.batches); diff != "" {
		t.Errorf("batches (-want, +got):\n%s", diff)
	}
}

// A call begins at once while nothing runs. The next ones gather.
func TestCallsGather(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSlowStore()
		began := time.Now()
		var waits []func() string
		for i := range 10 {
			waits = append(waits, s.begun(t.Context(), fmt.Sprint(i)))
		}
		for i, wait := range waits {
			if got := wait(); got != fmt.Sprint(i) {
				t.Errorf("call %d: %s", i, got)
			}
		}
		s.want(t, "0", "1", "2 3", "4 5 6 7", "8 9")
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// While batches run, the next one waits until it is as large as all of them, but not for long.
func TestCallsWaitForMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSlowStore()
		var waits []func() string
		call := func(keys ...string) {
			for _, key := range keys {
				waits = append(waits, s.begun(t.Context(), key))
			}
		}
		want := []string{"a", "b", "c d", "e f g h"}
		call("a", "b", "c", "d", "e", "f", "g", "h")
		call("i", "j", "k") // four batches run
		<-time.After(time.Second)
		synctest.Wait()
		want = append(want, "i j k")
		s.want(t, want...)
		call("l", "m")
		s.want(t, want...)
		call("n")
		want = append(want, "l m n")
		s.want(t, want...)
		call("o", "p", "q") // as large as each, but not as both
		s.want(t, want...)
		<-time.After(gatherFor)
		synctest.Wait()
		s.want(t, append(want, "o p q")...)
		for i, key := range strings.Split("a b c d e f g h i j k l m n o p q", " ") {
			if got := waits[i](); got != key {
				t.Errorf("call %d: %s, want %s", i, got, key)
			}
		}
	})
}

// Calls for an entity are made in their order, and hold up only calls for the same entities.
func TestCallsForOneEntity(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSlowStore()
		s.hold["a"] = make(chan struct{})
		first := s.begun(t.Context(), "a")
		second := s.begun(t.Context(), "a", "b")
		third := s.begun(t.Context(), "b") // behind the second
		for i := range 10 {
			if got := s.begun(t.Context(), fmt.Sprint(i))(); got != fmt.Sprint(i) {
				t.Errorf("call %d: %s", i, got)
			}
		}
		s.want(t, "a", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
		close(s.hold["a"])
		first()
		second()
		third()
		s.want(t, "a", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a b b")
	})
}

// A caller that gives up changes nothing for the others.
func TestCallsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSlowStore()
		s.hold["a"] = make(chan struct{})
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if got := s.begun(ended, "x")(); !strings.HasPrefix(got, "nothing was changed") {
			t.Errorf("with an ended context: %s", got)
		}
		s.want(t)

		soon, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		running := s.begun(soon, "a")
		waiting := s.begun(soon, "a", "b")
		behind := s.begun(t.Context(), "b")
		sooner, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		s.begun(sooner, "a", "c")
		if got := s.begun(t.Context(), "c")(); got != "c" || soon.Err() != nil {
			t.Errorf("behind a call that was given up: %s, after %v", got, soon.Err())
		}
		_, err := s.calls.do(soon, changeOf("b"))
		if errors.Is(err, versioning.ErrFateUnknown) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("in the queue: %v", err)
		}
		if got := running(); !strings.HasPrefix(got, versioning.ErrFateUnknown.Error()) {
			t.Errorf("in a running batch: %s", got)
		}
		if got := waiting(); !strings.HasPrefix(got, "nothing was changed") {
			t.Errorf("in the queue: %s", got)
		}
		if got := behind(); got != "b" {
			t.Errorf("behind a call that was given up: %s", got)
		}
		s.want(t, "a", "c", "b") // the batch of a was canceled, or the bubble would not end
		if len(s.calls.busy) > 0 || len(s.calls.queued) > 0 || s.calls.running > 0 {
			t.Errorf("left behind: %v %v %d", s.calls.busy, s.calls.queued, s.calls.running)
		}
	})
}

// One caller of a running batch gives up, the others get their outcomes.
func TestCallsOneOfSeveralGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSlowStore()
		s.hold["b"] = make(chan struct{})
		for i := range maxRunning {
			s.begun(t.Context(), fmt.Sprint(i))
		}
		impatient, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		first, other := s.begun(impatient, "b"), s.begun(t.Context(), "c")
		if got := first(); !strings.HasPrefix(got, versioning.ErrFateUnknown.Error()) {
			t.Errorf("the caller that has given up: %s", got)
		}
		close(s.hold["b"])
		if got := other(); got != "c" {
			t.Errorf("the other caller: %s", got)
		}
	})
}

// An error or a panic of a batch goes to all of its callers, and to nobody else.
func TestCallsFail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSlowStore()
		_, err := s.calls.do(t.Context(), changeOf("panic"))
		panicked, ok := errors.AsType[*versioning.PanicError](err)
		if !ok || !errors.Is(err, versioning.ErrFateUnknown) || panicked.Value != "oops" {
			t.Errorf("panic: %v", err)
		}
		if got := s.begun(t.Context(), "a")(); got != "a" {
			t.Errorf("after a panic: %s", got)
		}
		ended := make(chan struct{})
		go func() { // the batch of a lone call runs in its caller's goroutine
			defer close(ended)
			_, _ = s.calls.do(t.Context(), changeOf("exit"))
			t.Error("Goexit has not ended the goroutine")
		}()
		<-ended
		s.hold["first"] = make(chan struct{})
		first := s.begun(t.Context(), "first")
		if _, err = s.calls.do(t.Context(), changeOf("exit")); !errors.Is(err, errExited) {
			t.Errorf("Goexit: %v", err)
		}
		close(s.hold["first"])
		if got := first(); got != "first" {
			t.Errorf("after Goexit: %s", got)
		}
		s.err = &versioning.Error{Cause: versioning.Fatal, Err: errors.New("no rights")}
		_, err = s.calls.do(t.Context(), changeOf("a"))
		if !errors.Is(err, versioning.ErrFateUnknown) || versioning.CauseOf(err) != versioning.Fatal {
			t.Errorf("error: %v", err)
		}
	})
}

// Whatever is called and given up: each entity is in one running batch at a time, few batches
// run, and every call ends.
func TestCallsAlways(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		type one struct {
			keys  []string
			at    time.Duration
			gives time.Duration
		}
		drawn := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) one {
			return one{
				rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g"}), 0, 3).Draw(t, "keys"),
				time.Duration(rapid.IntRange(0, 4000).Draw(t, "at")) * time.Millisecond,
				time.Duration(rapid.IntRange(0, 9000).Draw(t, "gives up after")) * time.Millisecond,
			}
		}), 1, 40).Draw(rt, "calls")
		var wrong []string
		synctest.Test(t, func(t *testing.T) {
			s := newSlowStore()
			var all sync.WaitGroup
			for _, o := range drawn {
				all.Go(func() {
					<-time.After(o.at)
					ctx, cancel := context.WithTimeout(t.Context(), o.gives)
					defer cancel()
					outcome, err := s.calls.do(ctx, changeOf(o.keys...))
					if (err == nil) != (outcome.Verdict == versioning.Applied) {
						t.Errorf("outcome %v with error %v", outcome, err)
					}
				})
			}
			all.Wait()
			synctest.Wait()
			if s.clashes > 0 || s.most > maxRunning {
				wrong = append(wrong, fmt.Sprintf("%d clashes, %d batches at a time", s.clashes, s.most))
			}
			if len(s.calls.busy) > 0 || len(s.calls.queued) > 0 || s.calls.running > 0 || len(s.calls.queue) > 0 {
				wrong = append(wrong, fmt.Sprintf("left behind: %v %v %d %d", s.calls.busy, s.calls.queued, s.calls.running, len(s.calls.queue)))
			}
		})
		if len(wrong) > 0 {
			rt.Fatal(wrong)
		}
	})
}
