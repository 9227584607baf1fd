package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A Problem is an error for the client, by RFC 9457.
type Problem struct {
	// Type is a URI that identifies the kind of problem. Empty means about:blank.
	Type string `json:"type,omitempty"`

	// Title says in a few words what kind of problem it is. Empty means the status in words,
	// which is what RFC 9457 wants for about:blank.
	Title string `json:"title"`

	// Status is the status of the response. 0 means 500.
	Status int `json:"status"`

	// Detail says what is wrong with this request. It may be empty.
	Detail string `json:"detail,omitempty"`

	// Code is a word for programs, such as "key_reused". It may be empty.
	Code string `json:"code,omitempty"`

	// RetryAfter becomes the header Retry-After, in whole seconds, rounded up. 0 means none.
	RetryAfter time.Duration `json:"-"`
}

// WriteProblem answers with a problem, as application/problem+json.
func WriteProblem(w http.ResponseWriter, p Problem) {
	if p.Status == 0 {
		p.Status = http.StatusInternalServerError
	}
	if p.Title == "" {
		p.Title = http.StatusText(p.Status)
	}
	body, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings and a number can be encoded
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.RetryAfter.Seconds()))))
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // the client may have gone
}

// retryAfter is when to try again if nobody knows better.
const retryAfter = time.Second

// The problems of the gateway. They speak of one attempt: what another attempt with the key has
// changed is not known here. Nor is it known whether a retry takes effect twice, which depends
// on the backend.
var (
	problemNoTenant = Problem{
		Status: http.StatusForbidden, Code: "tenant_unknown",
		Title: "The sender is not known", Detail: "Requests with an Idempotency-Key need a sender that is authenticated.",
	}
	problemNoKey = Problem{
		Status: http.StatusBadRequest, Code: "key_missing",
		Title: "Idempotency-Key is missing", Detail: "This request needs the header Idempotency-Key. Choose a new key for each new request, and send the same one when you repeat a request.",
	}
	problemBadKey    = Problem{Status: http.StatusBadRequest, Code: "key_invalid", Title: "Idempotency-Key is not valid"}
	problemLargeBody = Problem{Status: http.StatusRequestEntityTooLarge, Code: "body_too_large", Title: "The body is too large"}
	problemSlowBody  = Problem{Status: http.StatusRequestTimeout, Code: "body_too_slow", Title: "The body did not arrive in time"}
	problemBadBody   = Problem{Status: http.StatusBadRequest, Code: "body_unreadable", Title: "The body could not be read"}
	problemReused    = Problem{
		Status: http.StatusUnprocessableEntity, Code: "key_reused",
		Title: "Idempotency-Key is already used", Detail: "A different request was sent with this key. Choose a new key.",
	}
	problemInProgress = Problem{
		Status: http.StatusConflict, Code: "in_progress", RetryAfter: retryAfter,
		Title: "A request is outstanding for this Idempotency-Key", Detail: "Send this request again later, with the same key, to get its response.",
	}
	problemUnavailable = Problem{
		Status: http.StatusServiceUnavailable, Code: "unavailable", RetryAfter: retryAfter,
		Title: "The request can't be processed now", Detail: "This attempt has changed nothing. Send the request again later, with the same key.",
	}
	problemFateUnknown = Problem{
		Status: http.StatusServiceUnavailable, Code: "outcome_unknown", RetryAfter: retryAfter,
		Title: "The outcome is not known", Detail: "The request may or may not have taken effect. Send it again, with the same key.",
	}
	problemNotStored = Problem{
		Status: http.StatusInternalServerError, Code: "not_stored",
		Title: "The request failed", Detail: "This attempt has changed nothing.",
	}
	problemRefusedResponse = Problem{
		Status: http.StatusInternalServerError, Code: "response_refused",
		Title: "The request failed", Detail: "The server made a response that can't be repeated.",
	}
	problemBodyConsumed = Problem{
		Status: http.StatusInternalServerError, Code: "body_consumed",
		Title: "The request can't be processed", Detail: "The server has lost the body of this request. This attempt has changed nothing.",
	}
	problemNested = Problem{
		Status: http.StatusInternalServerError, Code: "nested",
		Title: "The request can't be processed", Detail: "The server handles the key of this request twice. This attempt has changed nothing.",
	}
	problemNoAnswer   = problemUnavailable.afterRun()
	problemUnreadable = Problem{
		Status: http.StatusInternalServerError, Code: "response_unreadable",
		Title: "The response can't be repeated", Detail: "The request was processed before. Its response is stored, but can't be read.",
	}
)

// problemOf returns the problem that stands for an error of the backend.
func (g *Gateway) problemOf(ctx context.Context, err error) Problem {
	if busy, ok := errors.AsType[*InProgressError](err); ok {
		return problemInProgress.after(busy.RetryAfter)
	}
	switch unavailable, ok := errors.AsType[*UnavailableError](err); {
	case errors.Is(err, ErrFateUnknown):
		g.cfg.Logger.WarnContext(ctx, "it is not known whether a request has taken effect", "error", err)
		return problemFateUnknown
	case ok:
		g.cfg.Logger.WarnContext(ctx, "the backend is not available", "error", err)
		return problemUnavailable.after(unavailable.RetryAfter)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return problemUnavailable
	}
	g.cfg.Logger.ErrorContext(ctx, "the backend failed", "error", err)
	return problemNotStored
}

// afterRun is the problem once the handler has run. If the backend has given it no
// transaction, it may have changed something.
func (p Problem) afterRun() Problem {
	switch p.Code {
	case problemUnavailable.Code:
		p.Detail = "The response could not be stored. Send this request again later, with the same key, to get it."
	case problemNotStored.Code:
		p.Detail = "The response could not be stored."
	}
	return p
}

func (p Problem) after(d time.Duration) Problem {
	if d > 0 {
		p.RetryAfter = d
	}
	return p
}

// refuse answers with a problem of the gateway.
func (g *Gateway) refuse(w http.ResponseWriter, p Problem) {
	if g.cfg.ProblemType != "" {
		p.Type = g.cfg.ProblemType + p.Code
	} else { // RFC 9457 wants the status as the title of about:blank, so what the title says is for Detail
		p.Detail = strings.TrimSpace(p.Title + ". " + p.Detail)
		p.Title = ""
	}
	WriteProblem(w, p)
}
