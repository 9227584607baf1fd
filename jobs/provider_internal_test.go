package jobs

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// enterAll lets n calls of a given time enter a provider at once. It returns when each began,
// and the most that ran at a time.
func enterAll(t *testing.T, p *Provider, n int, takes time.Duration) (began []time.Duration, most int) {
	t.Helper()
	start := time.Now()
	var mu sync.Mutex
	var all sync.WaitGroup
	running := 0
	for range n {
		all.Go(func() {
			for {
				leave, err := p.enter(t.Context())
				if busy, ok := errors.AsType[*busyError](err); ok {
					time.Sleep(busy.wait) //nolint:forbidigo // in a bubble, as River does
					continue
				}
				mu.Lock()
				began = append(began, time.Since(start))
				running++
				most = max(most, running)
				mu.Unlock()
				time.Sleep(takes) //nolint:forbidigo // in a bubble
				mu.Lock()
				running--
				mu.Unlock()
				leave()
				return
			}
		})
	}
	all.Wait()
	return began, most
}

// TestProviderLimits checks concurrency and rate.
func TestProviderLimits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		provider *Provider
		most     int
		last     time.Duration // when the last of 30 calls of 0.95 s began
	}{
		"none":                 {&Provider{}, 30, 0},
		"concurrency":          {&Provider{Concurrency: 3}, 3, 8550 * time.Millisecond},
		"rate":                 {&Provider{Rate: 10}, 10, 2900 * time.Millisecond},
		"rate and burst":       {&Provider{Rate: 10, Burst: 5}, 14, 2500 * time.Millisecond},
		"rate and concurrency": {&Provider{Rate: 10, Concurrency: 3}, 3, 8750 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began, most := enterAll(t, c.provider, 30, 950*time.Millisecond)
				if last := began[len(began)-1]; most != c.most || last != c.last {
					t.Errorf("%d ran at a time, and the last one began after %v; want %d and %v", most, last, c.most, c.last)
				}
			})
		})
	}
}

// TestProviderIsBusy checks that a job does not wait for long, and that one that gives up leaves
// nothing behind.
func TestProviderIsBusy(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]*Provider{"concurrency": {Concurrency: 1}, "rate": {Rate: 0.01}, "paused": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				leave, err := p.enter(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if name == "paused" {
					p.pause(time.Minute)
					p.pause(time.Second) // a shorter pause does not end the longer one
				}
				_, err = p.enter(t.Context())
				busy, ok := errors.AsType[*busyError](err)
				if waited := time.Since(start); !ok || busy.wait < time.Second || waited > maxWait {
					t.Fatalf("enter: %v after %v, want a busyError after at most %v", err, waited, maxWait)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				defer cancel()
				if _, err := p.enter(ctx); err == nil {
					t.Error("enter ignores that its context ends")
				}
				leave()
				time.Sleep(time.Minute + 100*time.Second) //nolint:forbidigo // in a bubble
				if leave, err = p.enter(t.Context()); err != nil {
					t.Fatal(err)
				}
				leave()
			})
		})
	}
}

// TestProviderIsPausedShortly checks that a job waits for a short pause.
func TestProviderIsPausedShortly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &Provider{Rate: 1000}
		p.pause(5 * time.Second)
		start := time.Now()
		if _, err := p.enter(t.Context()); err != nil || time.Since(start) != 5*time.Second {
			t.Errorf("enter: %v after %v, want nil after 5s", err, time.Since(start))
		}
	})
}

// TestResponseError checks which responses are answers.
func TestResponseError(t *testing.T) {
	t.Parallel()
	date := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, c := range map[string]struct {
		status    int
		header    map[string]string
		failed    bool
		notCalled bool
		wait      time.Duration
	}{
		"OK":                 {200, nil, false, false, 0},
		"declined":           {402, map[string]string{"Retry-After": "7"}, false, false, 0},
		"too many":           {429, nil, true, true, 0},
		"too many, for 7 s":  {429, map[string]string{"Retry-After": "7"}, true, true, 7 * time.Second},
		"too many, for long": {429, map[string]string{"Retry-After": "999999999"}, true, true, 24 * time.Hour},
		"too many, odd":      {429, map[string]string{"Retry-After": "soon"}, true, true, 0},
		"too many, negative": {429, map[string]string{"Retry-After": "-5"}, true, true, 0},
		"too early":          {425, nil, true, true, 0},
		"broken":             {500, nil, true, false, 0},
		"unavailable": {503, map[string]string{
			"Retry-After": date.Add(time.Minute).Format(http.TimeFormat), "Date": date.Format(http.TimeFormat),
		}, true, false, time.Minute},
		"unavailable, in the past": {503, map[string]string{"Retry-After": date.AddDate(-30, 0, 0).Format(http.TimeFormat)}, true, false, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &http.Response{StatusCode: c.status, Header: http.Header{}}
			for k, v := range c.header {
				r.Header.Set(k, v)
			}
			err := ResponseError(r)
			var wait time.Duration
			if after, ok := errors.AsType[*retryAfterError](err); ok {
				wait = after.wait
			}
			if (err != nil) != c.failed || isNotCalled(err) != c.notCalled || wait != c.wait {
				t.Errorf("ResponseError: %v (not called: %v, wait %v)", err, isNotCalled(err), wait)
			}
		})
	}
	if NotCalled(nil) != nil || RetryAfter(nil, time.Second) != nil {
		t.Error("NotCalled and RetryAfter make errors of nil")
	}
}
