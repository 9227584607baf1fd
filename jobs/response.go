package jobs

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// ResponseError returns an error if an HTTP response says nothing about what became of the
// call: if its status is 429, 425, or at least 500. For all others, also 4xx, it returns nil:
// they are answers, and the handler decides which event they are.
//
// The error is a [RetryAfter] if the response has that header, as seconds or as a date. It is
// a [NotCalled] for 429 (Too Many Requests) and 425 (Too Early): those servers have not
// begun. Others may have, also with 503, which proxies send too. It does not read the body.
func ResponseError(r *http.Response) error {
	refused := r.StatusCode == http.StatusTooManyRequests || r.StatusCode == http.StatusTooEarly
	if r.StatusCode < http.StatusInternalServerError && !refused {
		return nil
	}
	err := fmt.Errorf("the provider answers with status %d", r.StatusCode)
	if refused {
		err = NotCalled(err)
	}
	if wait, ok := retryAfter(r.Header); ok {
		err = RetryAfter(err, wait)
	}
	return err
}

// retryAfter returns how long the header Retry-After asks to wait.
func retryAfter(h http.Header) (time.Duration, bool) {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0, false
	}
	now, err := http.ParseTime(h.Get("Date")) // the server's clock, if it says
	if err != nil {
		now = time.Now()
	}
	return at.Sub(now), true
}
