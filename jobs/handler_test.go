package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/jobs"
	"github.com/pawl-go/pawl/versioning"
)

// succeeded is a call that succeeds.
func succeeded(context.Context, jobs.Call[Charge]) ([]versioning.Change, error) {
	return jobs.Event("succeeded", charged{"charge"}), nil
}

// A bank counts calls by key, and answers as each test wants.
type bank struct {
	mu    sync.Mutex
	calls []string // the keys
	asked int
}

// call notes a call and returns its number, from 1.
func (b *bank) call(key string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, key)
	return len(b.calls)
}

func (b *bank) ask() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	return b.asked
}

// wantCalls checks how often the bank was called, always with the same key.
func (b *bank) wantCalls(t *testing.T, calls, asked int) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.calls) != calls || len(slices.Compact(slices.Clone(b.calls))) > 1 || b.asked != asked {
		t.Errorf("the bank was called with %v and asked %d times, want %d calls with one key, asked %d times", b.calls, b.asked, calls, asked)
	}
}

var errBroken = errors.New("the connection broke")

// TestResults checks what becomes of a job for each answer and error of a call.
func TestResults(t *testing.T) {
	t.Parallel()
	quick := func() *jobs.Provider {
		return &jobs.Provider{Name: "bank", Concurrency: 1, Timeout: 50 * time.Millisecond} // one slot, so that no attempt may keep it
	}
	type answers = func(ctx context.Context, call int) ([]versioning.Change, error)
	fail := func(times int, err error) answers {
		return func(ctx context.Context, n int) ([]versioning.Change, error) {
			if n <= times {
				return nil, err
			}
			return jobs.Event("succeeded", charged{fmt.Sprint("charge", n)}), nil
		}
	}
	lastPanics := func(_ context.Context, n int) ([]versioning.Change, error) {
		if n < 4 {
			return nil, jobs.NotCalled(errBroken)
		}
		panic("oh")
	}
	onlyFirst := func(err error) answers { // the others do not reach the bank
		return func(_ context.Context, n int) ([]versioning.Change, error) {
			if n == 1 {
				return nil, err
			}
			return nil, jobs.NotCalled(errBroken)
		}
	}
	cases := map[string]struct {
		handler jobs.Handler[Charge]
		call    answers
		ask     func(n int) (jobs.Answer, error)

		state, job   string
		calls, asked int
		err          string // of the job, at the end
	}{
		"answered": {
			jobs.Handler[Charge]{Class: jobs.Once},
			fail(0, nil), nil,
			"paid 2 charge1", "completed", 1, 0, "",
		},
		"declined": {
			jobs.Handler[Charge]{Class: jobs.Repeatable},
			func(context.Context, int) ([]versioning.Change, error) { return jobs.Event("declined", nil), nil }, nil,
			"declined 2 ", "completed", 1, 0, "",
		},
		"nothing to say": {
			jobs.Handler[Charge]{Class: jobs.Repeatable},
			func(context.Context, int) ([]versioning.Change, error) { return nil, nil }, nil,
			"pending 1 ", "completed", 1, 0, "",
		},
		"two events": {
			jobs.Handler[Charge]{Class: jobs.Repeatable},
			func(context.Context, int) ([]versioning.Change, error) {
				return append(jobs.Event("succeeded", charged{"c"}), versioning.Change{Machine: "payment", Event: "settled"}), nil
			}, nil,
			"settled 3 c", "completed", 1, 0, "",
		},
		"repeatable, broken": {
			jobs.Handler[Charge]{Class: jobs.Repeatable},
			fail(2, errBroken), nil,
			"paid 2 charge3", "completed", 3, 0, errBroken.Error(),
		},
		"repeatable, broken for ever": {
			jobs.Handler[Charge]{Class: jobs.Repeatable},
			fail(99, errBroken), nil,
			"pending 1 ", "discarded", 4, 0, jobs.ErrUnknown.Error() + ": no attempt is left; the last one: call provider \"bank\": " + errBroken.Error(),
		},
		"repeatable, not called": {
			jobs.Handler[Charge]{Class: jobs.Repeatable, Unknown: "unknown"},
			fail(99, jobs.NotCalled(errBroken)), nil,
			"pending 1 ", "discarded", 4, 0, "no attempt is left; the last one: call provider \"bank\": " + errBroken.Error(),
		},
		"repeatable, lost, then not called": {
			jobs.Handler[Charge]{Class: jobs.Repeatable, Unknown: "unknown"},
			onlyFirst(errBroken), nil,
			"unknown 2 ", "completed", 4, 0, errBroken.Error(),
		},
		"repeatable, busy, but perhaps done, then not called": {
			jobs.Handler[Charge]{Class: jobs.Repeatable, Unknown: "unknown"},
			onlyFirst(jobs.RetryAfter(errBroken, 0)), nil,
			"unknown 2 ", "completed", 5, 0, errBroken.Error(),
		},
		"repeatable, busy, not called": {
			jobs.Handler[Charge]{Class: jobs.Repeatable, Unknown: "unknown"},
			onlyFirst(jobs.RetryAfter(jobs.NotCalled(errBroken), 0)), nil,
			"pending 1 ", "discarded", 5, 0, "no attempt is left",
		},
		"repeatable, panics at last": {
			jobs.Handler[Charge]{Class: jobs.Repeatable, Unknown: "unknown"},
			lastPanics, nil,
			"unknown 2 ", "completed", 4, 0, "panic: oh",
		},
		"repeatable, broken for ever, with an event": {
			jobs.Handler[Charge]{Class: jobs.Repeatable, Unknown: "unknown"},
			fail(99, errBroken), nil,
			"unknown 2 ", "completed", 4, 0, errBroken.Error(),
		},
		"never called, with an event": {
			jobs.Handler[Charge]{Class: jobs.Once, Unknown: "unknown"},
			fail(99, jobs.NotCalled(errBroken)), nil,
			"pending 1 ", "discarded", 4, 0, "no attempt is left; the last one: call provider \"bank\": " + errBroken.Error(),
		},
		"once, broken": {
			jobs.Handler[Charge]{Class: jobs.Once},
			fail(1, errBroken), nil,
			"pending 1 ", "cancelled", 1, 0, jobs.ErrUnknown.Error(),
		},
		"once, broken, with an event": {
			jobs.Handler[Charge]{Class: jobs.Once, Unknown: "unknown"},
			fail(1, errBroken), nil,
			"unknown 2 ", "completed", 1, 0, "",
		},
		"once, busy, but perhaps done": {
			jobs.Handler[Charge]{Class: jobs.Once, Unknown: "unknown"},
			fail(1, jobs.RetryAfter(errBroken, time.Hour)), nil,
			"unknown 2 ", "completed", 1, 0, "",
		},
		"once, not called": {
			jobs.Handler[Charge]{Class: jobs.Once, Unknown: "unknown"},
			fail(2, fmt.Errorf("dial: %w", jobs.NotCalled(errBroken))), nil,
			"paid 2 charge3", "completed", 3, 0, errBroken.Error(),
		},
		"once, busy": {
			jobs.Handler[Charge]{Class: jobs.Once, Unknown: "unknown"},
			fail(1, jobs.RetryAfter(jobs.NotCalled(errBroken), 0)), nil,
			"paid 2 charge2", "completed", 2, 0, "",
		},
		"once, times out": {
			jobs.Handler[Charge]{Class: jobs.Once, Unknown: "unknown"},
			func(ctx context.Context, _ int) ([]versioning.Change, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}, nil,
			"unknown 2 ", "completed", 1, 0, "",
		},
		"once, panics": {
			jobs.Handler[Charge]{Class: jobs.Once, Unknown: "unknown"},
			func(context.Context, int) ([]versioning.Change, error) { panic("oh") }, nil,
			"unknown 2 ", "completed", 1, 0, "",
		},
		"once, panics at last": {
			jobs.Handler[Charge]{Class: jobs.Once, Unknown: "unknown"},
			lastPanics, nil,
			"unknown 2 ", "completed", 4, 0, errBroken.Error(),
		},
		"once, panics, without an event": {
			jobs.Handler[Charge]{Class: jobs.Once},
			func(context.Context, int) ([]versioning.Change, error) { panic("oh") }, nil,
			"pending 1 ", "cancelled", 1, 0, jobs.ErrUnknown.Error() + ": call provider \"bank\": panic: oh",
		},
		"queryable, records another output": {
			jobs.Handler[Charge]{Class: jobs.Queryable},
			func(ctx context.Context, _ int) ([]versioning.Change, error) {
				if err := river.RecordOutput(ctx, []int{1}); err != nil {
					return nil, jobs.NotCalled(err)
				}
				return nil, errBroken
			},
			func(int) (jobs.Answer, error) { return jobs.Done(jobs.Event("succeeded", charged{"asked"})...), nil },
			"paid 2 asked", "completed", 1, 1, errBroken.Error(),
		},
		"cancelled by the handler": {
			jobs.Handler[Charge]{Class: jobs.Once, Unknown: "unknown"},
			fail(1, river.JobCancel(errBroken)), nil,
			"pending 1 ", "cancelled", 1, 0, errBroken.Error(),
		},
		"queryable, done": {
			jobs.Handler[Charge]{Class: jobs.Queryable},
			fail(99, errBroken),
			func(int) (jobs.Answer, error) { return jobs.Done(jobs.Event("succeeded", charged{"asked"})...), nil },
			"paid 2 asked", "completed", 1, 1, errBroken.Error(),
		},
		"queryable, not done": {
			jobs.Handler[Charge]{Class: jobs.Queryable},
			fail(1, errBroken),
			func(int) (jobs.Answer, error) { return jobs.NotDone(), nil },
			"paid 2 charge2", "completed", 2, 1, errBroken.Error(),
		},
		"queryable, not called": {
			jobs.Handler[Charge]{Class: jobs.Queryable},
			fail(1, jobs.NotCalled(errBroken)),
			func(int) (jobs.Answer, error) { return jobs.Answer{}, nil },
			"paid 2 charge2", "completed", 2, 0, errBroken.Error(),
		},
		"queryable, busy": {
			jobs.Handler[Charge]{Class: jobs.Queryable},
			fail(1, jobs.RetryAfter(errBroken, 0)),
			func(int) (jobs.Answer, error) { return jobs.NotDone(), nil },
			"paid 2 charge2", "completed", 2, 1, "",
		},
		"queryable, pending": {
			jobs.Handler[Charge]{Class: jobs.Queryable},
			fail(1, errBroken),
			func(n int) (jobs.Answer, error) {
				if n == 1 {
					return jobs.Pending(0), nil
				}
				return jobs.Done(jobs.Event("declined", nil)...), nil
			},
			"declined 2 ", "completed", 1, 2, errBroken.Error(),
		},
		"queryable, can't be asked": {
			jobs.Handler[Charge]{Class: jobs.Queryable, Unknown: "unknown"},
			fail(1, errBroken),
			func(int) (jobs.Answer, error) { return jobs.Answer{}, errors.New("nobody there") },
			"unknown 2 ", "completed", 1, 4, "nobody there",
		},
		"queryable, can't be asked, without an event": {
			jobs.Handler[Charge]{Class: jobs.Queryable},
			fail(1, errBroken),
			func(int) (jobs.Answer, error) { return jobs.Answer{}, errors.New("nobody there") },
			"pending 1 ", "discarded", 1, 4, jobs.ErrUnknown.Error() + ": ask provider \"bank\": nobody there",
		},
		"queryable, refuses to be asked": {
			jobs.Handler[Charge]{Class: jobs.Queryable, Unknown: "unknown"},
			fail(1, errBroken),
			func(int) (jobs.Answer, error) { return jobs.Answer{}, jobs.NotCalled(errBroken) }, // as ResponseError says of a 429
			"unknown 2 ", "completed", 1, 4, errBroken.Error(),
		},
		"queryable, Ask panics": {
			jobs.Handler[Charge]{Class: jobs.Queryable},
			fail(1, errBroken),
			func(n int) (jobs.Answer, error) {
				if n == 1 {
					panic("oh")
				}
				return jobs.Done(jobs.Event("succeeded", charged{"asked"})...), nil
			},
			"paid 2 asked", "completed", 1, 2, "panic: oh",
		},
		"queryable, asked after the last call": {
			jobs.Handler[Charge]{Class: jobs.Queryable, Unknown: "unknown"},
			fail(99, errBroken),
			func(n int) (jobs.Answer, error) {
				if n < 4 {
					return jobs.NotDone(), nil
				}
				return jobs.Done(jobs.Event("succeeded", charged{"asked"})...), nil
			},
			"paid 2 asked", "completed", 4, 4, errBroken.Error(),
		},
		"queryable, never done": {
			jobs.Handler[Charge]{Class: jobs.Queryable, Unknown: "unknown"},
			fail(99, errBroken),
			func(int) (jobs.Answer, error) { return jobs.NotDone(), nil },
			"pending 1 ", "discarded", 4, 4, "no attempt is left",
		},
		"refused": {
			jobs.Handler[Charge]{Class: jobs.Repeatable},
			func(context.Context, int) ([]versioning.Change, error) { return jobs.Event("misspelt", nil), nil }, nil,
			"pending 1 ", "cancelled", 1, 0, "unknown_event",
		},
		"early for too long": {
			jobs.Handler[Charge]{Class: jobs.Once, EarlyFor: -1},
			func(context.Context, int) ([]versioning.Change, error) { return jobs.Event("settled", nil), nil }, nil,
			"pending 1 ", "cancelled", 1, 0, "early",
		},
		"NUL in an error": {
			jobs.Handler[Charge]{Class: jobs.Repeatable, Unknown: "unknown"},
			fail(99, errors.New("the answer is a\x00b")), nil,
			"unknown 2 ", "completed", 4, 0, "the answer is a\uFFFDb",
		},
		"once, NUL in an error": {
			jobs.Handler[Charge]{Class: jobs.Once, Unknown: "unknown"},
			fail(99, errors.New("the answer is a\x00b")), nil,
			"unknown 2 ", "completed", 1, 0, "",
		},
		"NUL in a result": {
			jobs.Handler[Charge]{Class: jobs.Once, Unknown: "unknown"},
			func(context.Context, int) ([]versioning.Change, error) {
				return []versioning.Change{{Event: "succeeded", Data: charged{"c"}, MessageID: "a\x00b"}}, nil
			}, nil,
			"unknown 2 ", "completed", 1, 0, "",
		},
		"a result that can't be kept": {
			jobs.Handler[Charge]{Class: jobs.Once, Unknown: "unknown"},
			func(context.Context, int) ([]versioning.Change, error) {
				return []versioning.Change{{Event: "succeeded", Data: func() {}}}, nil
			}, nil,
			"unknown 2 ", "completed", 1, 0, "",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, machineWith(place), &river.Config{MaxAttempts: 4})
			b := &bank{}
			h := c.handler
			h.Provider = quick()
			h.Call = func(ctx context.Context, call jobs.Call[Charge]) ([]versioning.Change, error) {
				return c.call(ctx, b.call(call.Key))
			}
			if c.ask != nil {
				h.Ask = func(context.Context, jobs.Call[Charge]) (jobs.Answer, error) { return c.ask(b.ask()) }
			}
			e.place("p1", 1)
			work(e, h)
			e.eventually(jobState, c.job)
			e.want(states, "p1 "+c.state)
			b.wantCalls(t, c.calls, c.asked)
			if got := strings.Join(e.query(`SELECT coalesce(errors[array_length(errors, 1)] ->> 'error', '') FROM river_job`), ""); !strings.Contains(got, c.err) || got != "" && c.err == "" {
				t.Errorf("the job's last error is %q, want %q", got, c.err)
			}
		})
	}
}

// TestCall checks what a handler learns about its job.
func TestCall(t *testing.T) {
	t.Parallel()
	e := newEnv(t, machineWith(place), nil)
	calls := make(chan jobs.Call[Charge], 1)
	work(e, jobs.Handler[Charge]{Class: jobs.Repeatable, Call: func(ctx context.Context, c jobs.Call[Charge]) ([]versioning.Change, error) {
		calls <- c
		return nil, nil
	}})
	e.place("p1", 7)
	c := <-calls
	if c.Row == nil || c.Row.Kind != "charge" {
		t.Errorf("the row is %+v", c.Row)
	}
	c.Row = nil
	want := jobs.Call[Charge]{
		Key: jobs.KeyOf("payment", "p1", 1, 0), Args: Charge{7}, Entity: versioning.Entity{Machine: "payment", Key: "p1"},
		Version: 1, Event: "placed", Attempt: 1,
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("the call (-want, +got):\n%s", diff)
	}
}

// TestEarlyResult checks that a result that comes too early is kept and tried again, without
// another call.
func TestEarlyResult(t *testing.T) {
	t.Parallel()
	e := newEnv(t, machineWith(place), nil)
	b := &bank{}
	work(e, jobs.Handler[Charge]{Class: jobs.Once, Call: func(_ context.Context, c jobs.Call[Charge]) ([]versioning.Change, error) {
		b.call(c.Key)
		return []versioning.Change{{Event: "settled", Set: nil}}, nil
	}})
	e.place("p1", 1)
	e.eventually(`SELECT coalesce(metadata ->> 'snoozes', '') FROM river_job WHERE state <> 'running'`, "1")
	e.do(versioning.Applied, versioning.Change{Key: "p1", Event: "succeeded", Data: charged{"by hand"}})
	e.eventually(jobState, "completed")
	e.want(states, "p1 settled 3 by hand")
	b.wantCalls(t, 1, 0)
}

// TestRefusedResultIsKept checks that a result that the entity refuses is not lost with its job:
// it becomes a dead letter, or is parked.
func TestRefusedResultIsKept(t *testing.T) {
	t.Parallel()
	const dead = `SELECT verdict || ' ' || reason || ' ' || topic FROM pawl.dead_letters`
	t.Run("rejected", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t, machineWith(place), nil)
		client := work(e, jobs.Handler[Charge]{Class: jobs.Repeatable, Call: func(context.Context, jobs.Call[Charge]) ([]versioning.Change, error) {
			return jobs.Event("misspelt", nil), nil
		}})
		e.place("p1", 1)
		e.eventually(jobState, "cancelled")
		e.want(dead, "rejected unknown_event "+versioning.DeliveryTopic)
		if _, err := client.JobRetry(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		e.eventually(`SELECT state || ' ' || array_length(errors, 1) FROM river_job`, "cancelled 2")
		e.want(dead, "rejected unknown_event "+versioning.DeliveryTopic)
	})
	t.Run("early", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t, machineWith(place), nil)
		work(e, jobs.Handler[Charge]{Class: jobs.Repeatable, EarlyFor: -1, Call: func(context.Context, jobs.Call[Charge]) ([]versioning.Change, error) {
			return jobs.Event("settled", nil), nil
		}})
		e.place("p1", 1)
		e.eventually(jobState, "cancelled")
		e.do(versioning.Applied, versioning.Change{Key: "p1", Event: "succeeded", Data: charged{"by hand"}})
		e.want(states, "p1 settled 3 by hand")
		e.want(dead)
	})
	t.Run("the store can't keep it at first", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t, machineWith(place), nil)
		gone := &versioning.Error{Cause: versioning.Fatal, Err: errBroken}
		b := &bank{}
		workOn(e, e.pool, &lossy{Store: e.store, errors: []error{nil, gone}}, jobs.Handler[Charge]{
			Class: jobs.Once,
			Call: func(_ context.Context, c jobs.Call[Charge]) ([]versioning.Change, error) {
				b.call(c.Key)
				return jobs.Event("misspelt", nil), nil
			},
		}, nil)
		e.place("p1", 1)
		e.eventually(jobState, "cancelled")
		e.want(dead, "rejected unknown_event "+versioning.DeliveryTopic)
		b.wantCalls(t, 1, 0)
	})
}

// TestRefusedResultAgain checks that a job whose result was refused tries the result again when
// somebody retries it, without another call.
func TestRefusedResultAgain(t *testing.T) {
	t.Parallel()
	e := newEnv(t, machineWith(place), nil)
	b := &bank{}
	client := work(e, jobs.Handler[Charge]{Class: jobs.Repeatable, EarlyFor: -1, Call: func(_ context.Context, c jobs.Call[Charge]) ([]versioning.Change, error) {
		b.call(c.Key)
		return jobs.Event("settled", nil), nil
	}})
	e.place("p1", 1)
	e.eventually(jobState, "cancelled")
	e.do(versioning.Applied, versioning.Change{Key: "p1", Event: "succeeded", Data: charged{"by hand"}})
	if _, err := client.JobRetry(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	e.eventually(jobState, "completed")
	e.want(states, "p1 settled 3 by hand")
	b.wantCalls(t, 1, 0)
}

// TestRetriedByHand checks that a person who retries a job of class Once does not repeat a call
// that may have been made.
func TestRetriedByHand(t *testing.T) {
	t.Parallel()
	e := newEnv(t, machineWith(place), nil)
	b := &bank{}
	client := work(e, jobs.Handler[Charge]{Class: jobs.Once, Call: func(_ context.Context, c jobs.Call[Charge]) ([]versioning.Change, error) {
		b.call(c.Key)
		return nil, errBroken
	}})
	e.place("p1", 1)
	e.eventually(jobState, "cancelled")
	if _, err := client.JobRetry(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	e.eventually(`SELECT state || ' ' || array_length(errors, 1) FROM river_job`, "cancelled 2")
	b.wantCalls(t, 1, 0)
}

// TestRetriedAfterTheLastAttempt checks that a job whose attempts are used up calls once more
// when a person retries it, and is lost if the answer of that call is.
func TestRetriedAfterTheLastAttempt(t *testing.T) {
	t.Parallel()
	e := newEnv(t, machineWith(place), &river.Config{MaxAttempts: 1})
	b := &bank{}
	client := work(e, jobs.Handler[Charge]{Class: jobs.Repeatable, Unknown: "unknown", Call: func(_ context.Context, c jobs.Call[Charge]) ([]versioning.Change, error) {
		if b.call(c.Key) < 3 {
			return nil, jobs.NotCalled(errBroken)
		}
		return nil, errBroken
	}})
	e.place("p1", 1)
	for attempts := 2; attempts < 4; attempts++ { // the first one and the one that settles, and then one more
		e.eventually(`SELECT state || ' ' || attempt FROM river_job`, fmt.Sprint("discarded ", attempts))
		if _, err := client.JobRetry(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
	}
	e.eventually(jobState, "completed")
	e.want(states, "p1 unknown 2 ")
	b.wantCalls(t, 3, 0)
}

// TestKilledAfterTheResult lets River run a job again whose result was applied: the process was
// killed before River knew. For class Once nobody knows then whether the call was made, but the
// entity does.
func TestKilledAfterTheResult(t *testing.T) {
	t.Parallel()
	for _, class := range []jobs.Class{jobs.Repeatable, jobs.Once} {
		t.Run(class.String(), func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, machineWith(place), nil)
			client := work(e, jobs.Handler[Charge]{Class: class, Unknown: "unknown", Call: succeeded})
			e.place("p1", 1)
			e.eventually(jobState, "completed")
			if _, err := client.JobRetry(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			e.eventually(`SELECT state || ' ' || attempt FROM river_job`, "completed 2")
			e.want(states, "p1 paid 2 charge")
		})
	}
}

// TestRetryAfterHoldsUpOthers checks that no other job of the provider is run while it wants no
// calls.
func TestRetryAfterHoldsUpOthers(t *testing.T) {
	t.Parallel()
	e := newEnv(t, machineWith(place), nil)
	const wait = 2 * time.Second
	busy := make(chan time.Time, 1)
	var mu sync.Mutex
	var refused bool
	var other time.Time
	work(e, jobs.Handler[Charge]{
		Class: jobs.Once, Provider: &jobs.Provider{Name: "bank"},
		Call: func(_ context.Context, c jobs.Call[Charge]) ([]versioning.Change, error) {
			mu.Lock()
			defer mu.Unlock()
			if c.Entity.Key == "p2" {
				other = time.Now()
			}
			if c.Entity.Key == "p1" && !refused {
				refused = true
				busy <- time.Now()
				return nil, jobs.RetryAfter(jobs.NotCalled(errBroken), wait)
			}
			return jobs.Event("succeeded", charged{"c"}), nil
		},
	})
	e.place("p1", 1)
	e.eventually(`SELECT coalesce(metadata ->> 'snoozes', '') FROM river_job WHERE state <> 'running'`, "1")
	e.place("p2", 2)
	e.eventually(`SELECT state FROM payments ORDER BY id`, "paid", "paid")
	mu.Lock()
	defer mu.Unlock()
	if got := other.Sub(<-busy); got < wait {
		t.Errorf("the other job called %v after the provider had asked for %v", got, wait)
	}
}

// A lossy store loses answers.
type lossy struct {
	jobs.Store
	mu     sync.Mutex
	errors []error // for the next calls; a lostAnswer is returned after the changes were made
}

type lostAnswer struct{ error }

func (e lostAnswer) Unwrap() error { return e.error }

func (s *lossy) Do(ctx context.Context, changes ...versioning.Change) (versioning.Outcome, error) {
	return s.answer(ctx, s.Store.Do, changes)
}

func (s *lossy) Deliver(ctx context.Context, changes ...versioning.Change) (versioning.Outcome, error) {
	return s.answer(ctx, s.Store.Deliver, changes)
}

type method = func(context.Context, ...versioning.Change) (versioning.Outcome, error)

func (s *lossy) answer(ctx context.Context, m method, changes []versioning.Change) (versioning.Outcome, error) {
	s.mu.Lock()
	var err error
	if len(s.errors) > 0 {
		err, s.errors = s.errors[0], s.errors[1:]
	}
	s.mu.Unlock()
	if _, made := errors.AsType[lostAnswer](err); err != nil && !made {
		return versioning.Outcome{}, err
	}
	o, failed := m(ctx, changes...)
	if failed == nil && err != nil {
		return versioning.Outcome{}, err
	}
	return o, failed
}

// TestDatabaseAnswersLater checks that a result is not lost when the database does not take it
// at first, and is applied once, also if it had taken it. The call is not repeated.
func TestDatabaseAnswersLater(t *testing.T) {
	t.Parallel()
	gone := &versioning.Error{Cause: versioning.Infrastructure, Err: versioning.ErrFateUnknown}
	for name, c := range map[string]struct {
		errors []error
		failed int
	}{
		"not made": {[]error{gone}, 0},
		"made":     {[]error{lostAnswer{gone}}, 0},
		"fatal":    {[]error{&versioning.Error{Cause: versioning.Fatal, Err: errBroken}, lostAnswer{&versioning.Error{Cause: versioning.Fatal, Err: errBroken}}}, 2},
	} {
		for _, class := range []jobs.Class{jobs.Repeatable, jobs.Once} {
			t.Run(name+" "+class.String(), func(t *testing.T) {
				t.Parallel()
				e := newEnv(t, machineWith(place), nil)
				b := &bank{}
				workOn(e, e.pool, &lossy{Store: e.store, errors: c.errors}, jobs.Handler[Charge]{
					Class: class,
					Call: func(_ context.Context, c jobs.Call[Charge]) ([]versioning.Change, error) {
						return jobs.Event("succeeded", charged{fmt.Sprint(b.call(c.Key))}), nil
					},
				}, nil)
				e.place("p1", 1)
				e.eventually(jobState, "completed")
				e.want(states, "p1 paid 2 1")
				e.want(`SELECT coalesce(array_length(errors, 1), 0)::text FROM river_job`, fmt.Sprint(c.failed))
				b.wantCalls(t, 1, 0)
			})
		}
	}
}

// TestTakenOver lets River take a job from a worker that is alive, as it does after
// RescueStuckJobsAfter. However that ends, the call is made once, and a differing second result
// changes nothing.
func TestTakenOver(t *testing.T) {
	t.Parallel()
	// rescue does what River does to a job that it believes stuck.
	const rescue = `UPDATE river_job SET state = 'available', scheduled_at = now(), errors = array_append(errors, '{"at": "2026-01-01T00:00:00Z", "attempt": 1, "error": "rescued", "trace": ""}')`
	run := func(t *testing.T, class jobs.Class, ask func(context.Context, jobs.Call[Charge]) (jobs.Answer, error), during func(*env)) (*env, *bank) {
		t.Helper()
		e := newEnv(t, machineWith(place), nil)
		b := &bank{}
		calling, answer := make(chan struct{}), make(chan struct{})
		work(e, jobs.Handler[Charge]{
			Class: class, Unknown: "unknown", Ask: ask, Provider: &jobs.Provider{Name: "bank", Timeout: 300 * time.Millisecond},
			Call: func(_ context.Context, c jobs.Call[Charge]) ([]versioning.Change, error) {
				n := b.call(c.Key)
				if n == 1 {
					close(calling)
					<-answer
				}
				return jobs.Event("succeeded", charged{fmt.Sprint("answer", n)}), nil
			},
		})
		e.place("p1", 1)
		<-calling
		e.exec(rescue)
		during(e)
		e.eventually(jobState, "completed")
		close(answer)
		return e, b
	}
	t.Run("once", func(t *testing.T) {
		t.Parallel()
		e, b := run(t, jobs.Once, nil, func(e *env) { e.eventually(states, "p1 unknown 2 ") })
		e.eventually(jobState, "completed")
		e.want(states, "p1 unknown 2 ")
		b.wantCalls(t, 1, 0)
	})
	t.Run("repeatable", func(t *testing.T) {
		t.Parallel()
		e, b := run(t, jobs.Repeatable, nil, func(e *env) { e.eventually(states, "p1 paid 2 answer2") })
		e.eventually(jobState, "completed")
		e.want(states, "p1 paid 2 answer2")
		b.wantCalls(t, 2, 0)
	})
	t.Run("queryable", func(t *testing.T) {
		t.Parallel()
		done := func(_ context.Context, c jobs.Call[Charge]) (jobs.Answer, error) {
			if since := time.Since(c.Row.CreatedAt); since < 300*time.Millisecond {
				t.Errorf("the bank is asked %v after the job was enqueued, when the call may be on its way", since)
			}
			return jobs.Done(jobs.Event("succeeded", charged{"asked"})...), nil
		}
		e, b := run(t, jobs.Queryable, done, func(e *env) { e.eventually(states, "p1 paid 2 asked") })
		e.eventually(jobState, "completed")
		e.want(states, "p1 paid 2 asked")
		b.wantCalls(t, 1, 0)
	})
}

// TestTakenOverBeforeTheCall checks that a worker that was stopped before the call, and wakes up
// after River has given the job to another one, makes no call.
func TestTakenOverBeforeTheCall(t *testing.T) {
	t.Parallel()
	e := newEnv(t, machineWith(place), nil)
	b := &bank{}
	calling, answer := make(chan struct{}, 9), make(chan struct{})
	work(e, jobs.Handler[Charge]{
		Class: jobs.Once, Provider: &jobs.Provider{Name: "bank", Concurrency: 1},
		Call: func(ctx context.Context, c jobs.Call[Charge]) ([]versioning.Change, error) {
			if c.Entity.Key == "p2" {
				b.call(c.Key)
				return jobs.Event("succeeded", charged{"p2"}), nil
			}
			calling <- struct{}{}
			<-answer
			return jobs.Event("succeeded", charged{"p1"}), nil
		},
	})
	e.place("p1", 1)
	<-calling
	e.place("p2", 2)
	e.eventually(`SELECT count(*)::text FROM river_job WHERE state = 'running'`, "2")
	t.Log("the job of p2 waits for the provider; another worker takes it over, and waits too")
	e.exec(`UPDATE river_job SET state = 'available' WHERE metadata -> 'pawl' ->> 'entity' = 'p2'`)
	e.eventually(`SELECT attempt || ' ' || state FROM river_job WHERE metadata -> 'pawl' ->> 'entity' = 'p2'`, "2 running")
	close(answer)
	e.eventually(`SELECT state FROM payments ORDER BY id`, "paid", "paid")
	b.wantCalls(t, 1, 0)
}

// TestTakenOverThenStopped checks that an attempt whose job was given to another worker does not
// end that one's attempt when its client is stopped. Otherwise River would run the job a third
// time while the second call is under way.
func TestTakenOverThenStopped(t *testing.T) {
	t.Parallel()
	e := newEnv(t, machineWith(place), nil)
	b := &bank{}
	calling, answer := make(chan int, 9), make(chan struct{})
	lines := make(chan string, 9)
	h := jobs.Handler[Charge]{
		Class: jobs.Repeatable, Logger: slog.New(lineHandler{slog.DiscardHandler, lines}),
		Call: func(ctx context.Context, c jobs.Call[Charge]) ([]versioning.Change, error) {
			n := b.call(c.Key)
			calling <- n
			if n == 1 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			<-answer
			return jobs.Event("succeeded", charged{fmt.Sprint("answer", n)}), nil
		},
	}
	first := work(e, h)
	e.place("p1", 1)
	<-calling
	work(e, h)
	e.exec(`UPDATE river_job SET state = 'available', scheduled_at = now()`)
	<-calling
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		stop(t, first)
	}()
	select {
	case line := <-lines:
		t.Log(line)
	case n := <-calling:
		t.Errorf("call %d is made while another one is under way", n)
	case <-stopped:
		t.Error("the first attempt has ended while the second one runs")
	}
	close(answer)
	<-stopped
	e.eventually(jobState, "completed")
	e.want(states, "p1 paid 2 answer2")
	b.wantCalls(t, 2, 0)
}

// A lineHandler passes on the messages that are logged.
type lineHandler struct {
	slog.Handler
	lines chan<- string
}

func (lineHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h lineHandler) WithAttrs([]slog.Attr) slog.Handler     { return h }
func (h lineHandler) Handle(_ context.Context, r slog.Record) error {
	h.lines <- r.Message
	return nil
}

// TestNoConnectionDuringCalls makes 15 slow calls at a time with a pool of one connection, which
// other changes use meanwhile.
func TestNoConnectionDuringCalls(t *testing.T) {
	t.Parallel()
	config, err := pgxpool.ParseConfig(testenv.Postgres(t, withRiver))
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 1
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	e := newEnvOn(t, pool, machineWith(place), nil)
	const calls = 15
	for i := range calls {
		e.place(fmt.Sprint("p", i), int64(i))
	}
	var running atomic.Int32
	end := make(chan struct{})
	release := sync.OnceFunc(func() { close(end) })
	defer release()
	workOn(e, pool, e.store, jobs.Handler[Charge]{Class: jobs.Once, Call: func(_ context.Context, c jobs.Call[Charge]) ([]versioning.Change, error) {
		running.Add(1)
		<-end
		return jobs.Event("succeeded", charged{c.Entity.Key}), nil
	}}, &river.Config{PollOnly: true})
	testenv.Eventually(t, 20*time.Second, func() error {
		if n := running.Load(); n != calls {
			return fmt.Errorf("%d calls are under way, want %d", n, calls)
		}
		return nil
	})
	e.place("other", 1)
	release()
	e.eventually(`SELECT count(*)::text FROM payments WHERE state = 'paid'`, fmt.Sprint(calls+1))
}

// TestStoppedClient checks that a hard stop in the middle of a call does not make a job of class
// Once call again: River does not count such an attempt.
func TestStoppedClient(t *testing.T) {
	t.Parallel()
	e := newEnv(t, machineWith(place), nil)
	b := &bank{}
	calling := make(chan struct{}, 9)
	h := jobs.Handler[Charge]{Class: jobs.Once, Unknown: "unknown", Call: func(ctx context.Context, c jobs.Call[Charge]) ([]versioning.Change, error) {
		b.call(c.Key)
		calling <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	client := work(e, h)
	e.place("p1", 1)
	<-calling
	stop(t, client)
	work(e, h)
	e.eventually(states, "p1 unknown 2 ")
	b.wantCalls(t, 1, 0)
}

// TestHTTP lets a handler call a server that wants to be called later at first.
func TestHTTP(t *testing.T) {
	t.Parallel()
	e := newEnv(t, machineWith(place), nil)
	b := &bank{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch b.call(r.Header.Get("Idempotency-Key")) {
		case 1:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		case 2:
			w.WriteHeader(http.StatusBadGateway)
		default:
			w.WriteHeader(http.StatusPaymentRequired)
		}
	}))
	defer server.Close()
	var at []time.Time
	work(e, jobs.Handler[Charge]{Class: jobs.Repeatable, Provider: &jobs.Provider{Name: "bank"}, Call: func(ctx context.Context, c jobs.Call[Charge]) ([]versioning.Change, error) {
		at = append(at, time.Now())
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL, http.NoBody)
		if err != nil {
			return nil, jobs.NotCalled(err)
		}
		req.Header.Set("Idempotency-Key", c.Key)
		resp, err := server.Client().Do(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		if err := jobs.ResponseError(resp); err != nil {
			return nil, err
		}
		return jobs.Event("declined", nil), nil
	}})
	e.place("p1", 1)
	e.eventually(jobState, "completed")
	e.want(states, "p1 declined 2 ")
	b.wantCalls(t, 3, 0)
	if wait := at[1].Sub(at[0]); wait < time.Second {
		t.Errorf("the second call came %v after the first one, want at least the second that the server asked for", wait)
	}
	e.want(`SELECT attempt::text FROM river_job`, "2")
}

// TestForeignJob checks that a job that no step has enqueued is cancelled, and says why.
func TestForeignJob(t *testing.T) {
	t.Parallel()
	e := newEnv(t, machineWith(place), nil)
	b := &bank{}
	client := work(e, jobs.Handler[Charge]{Class: jobs.Once, Call: func(_ context.Context, c jobs.Call[Charge]) ([]versioning.Change, error) {
		b.call(c.Key)
		return nil, nil
	}})
	if _, err := client.Insert(t.Context(), Charge{1}, nil); err != nil {
		t.Fatal(err)
	}
	e.eventually(jobState, "cancelled")
	b.wantCalls(t, 0, 0)
	if got := e.query(lastErr); !strings.Contains(got[0], "Firing.Enqueue") {
		t.Errorf("the error is %q", got)
	}
}

// TestAdd checks that Add reports all problems of a handler at once.
func TestAdd(t *testing.T) {
	t.Parallel()
	workers := river.NewWorkers()
	err := jobs.Add(workers, nil, jobs.Handler[Ping]{
		Class: 9, Ask: func(context.Context, jobs.Call[Ping]) (jobs.Answer, error) { return jobs.Answer{}, nil },
		Provider: &jobs.Provider{Concurrency: -1, Rate: -1, Burst: -1, Timeout: -1},
	})
	for _, want := range []string{"store", "Class", "no Call", "Ask", "Name", "Concurrency", "Rate", "Burst", "Timeout"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Add does not mention %s: %v", want, err)
		}
	}
	call := func(context.Context, jobs.Call[Ping]) ([]versioning.Change, error) { return nil, nil }
	if err := jobs.Add(workers, &lossy{}, jobs.Handler[Ping]{Class: jobs.Queryable, Call: call}); err == nil || !strings.Contains(err.Error(), "no Ask") {
		t.Errorf("Add of a Queryable without Ask: %v", err)
	}
	if err := jobs.Add(workers, &lossy{}, jobs.Handler[Ping]{Class: jobs.Repeatable, Call: call}); err != nil {
		t.Error(err)
	}
	if err := jobs.Add(workers, &lossy{}, jobs.Handler[Ping]{Class: jobs.Repeatable, Call: call}); err == nil {
		t.Error("Add accepts two handlers for a kind")
	}
	for c, want := range map[jobs.Class]string{0: "none", jobs.Repeatable: "repeatable", jobs.Queryable: "queryable", jobs.Once: "once", 9: "class(9)"} {
		if c.String() != want {
			t.Errorf("class %d is %q, want %q", c, c, want)
		}
	}
}

// Ping is a job of TestAdd.
type Ping struct{}

func (Ping) Kind() string { return "ping" }
