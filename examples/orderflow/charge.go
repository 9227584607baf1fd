package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/riverqueue/river"
	"github.com/shopspring/decimal"

	"github.com/pawl-go/pawl/jobs"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// Charge is the job that asks the provider for the money.
type Charge struct {
	Amount decimal.Decimal `json:"amount"`
	Card   string          `json:"card"`
}

// Kind is River's name of the job.
func (Charge) Kind() string { return "charge" }

// Refund is the job that gives the money back.
type Refund struct {
	Charge string          `json:"charge"`
	Amount decimal.Decimal `json:"amount"`
}

// Kind is River's name of the job.
func (Refund) Kind() string { return "refund" }

// A bank is the payment provider, as the shop sees it.
type bank struct {
	url    string
	client *http.Client
}

// handlers returns River's workers for the jobs. What a handler returns, package jobs hands to
// the store, as often as it takes.
func (b *bank) handlers(store *postgres.Store, limits *jobs.Provider) (*river.Workers, error) {
	workers := river.NewWorkers()
	return workers, errors.Join(
		// For charges the provider honours idempotency keys, so they may be repeated. When all
		// attempts have failed, the payment says that somebody must ask.
		jobs.Add(workers, store, jobs.Handler[Charge]{Class: jobs.Repeatable, Unknown: PaymentUnclear, Provider: limits, Call: b.charge}),
		// For refunds it does not. If an answer is lost, it must be asked first. When all
		// attempts have failed, somebody retries the job in River's UI: then it is asked again.
		jobs.Add(workers, store, jobs.Handler[Refund]{Class: jobs.Queryable, Provider: limits, Call: b.refund, Ask: b.refunded}),
	)
}

func (b *bank) charge(ctx context.Context, c jobs.Call[Charge]) ([]versioning.Change, error) {
	var made struct {
		ID string `json:"id"`
	}
	status, err := b.do(ctx, http.MethodPost, "/charges", c.Key, map[string]any{
		"order": c.Entity.Key, "amount": c.Args.Amount, "card": c.Args.Card,
	}, &made)
	switch {
	case err != nil:
		return nil, err // nobody knows what has happened
	case status == http.StatusCreated:
		return both(PaymentCaptured, Captured{Charge: made.ID}), nil
	case status == http.StatusPaymentRequired:
		return both(PaymentDeclined, nil), nil
	}
	return nil, unexpected(status)
}

func (b *bank) refund(ctx context.Context, c jobs.Call[Refund]) ([]versioning.Change, error) {
	status, err := b.do(ctx, http.MethodPost, "/refunds", "", c.Args, nil)
	switch {
	case err != nil:
		return nil, err
	case status == http.StatusCreated:
		return both(PaymentRefunded, nil), nil
	}
	return nil, unexpected(status)
}

// refunded asks the provider whether an earlier call of refund has reached it.
func (b *bank) refunded(ctx context.Context, c jobs.Call[Refund]) (jobs.Answer, error) {
	status, err := b.do(ctx, http.MethodGet, "/refunds?charge="+url.QueryEscape(c.Args.Charge), "", nil, nil)
	switch {
	case err != nil:
		return jobs.Answer{}, err
	case status == http.StatusOK:
		return jobs.Done(both(PaymentRefunded, nil)...), nil
	case status == http.StatusNotFound:
		return jobs.NotDone(), nil
	}
	return jobs.Answer{}, unexpected(status)
}

// both returns the changes of an event that moves an order and its payment: both or neither.
func both(event statemachine.Event, data any) []versioning.Change {
	return []versioning.Change{
		{Machine: "order", Event: event, Data: data},
		{Machine: Payment.Name(), Event: event, Data: data},
	}
}

// unexpected ends a job: to repeat the call would not help, and somebody must look at it.
func unexpected(status int) error {
	return river.JobCancel(fmt.Errorf("the provider answers with status %d", status))
}

// do makes a request. The error is one that package jobs understands. A status below 500 is
// an answer; answer is decoded from its body if it is a success.
func (b *bank) do(ctx context.Context, method, path, key string, body, answer any) (status int, err error) {
	content, err := json.Marshal(body)
	if err != nil {
		return 0, jobs.NotCalled(err)
	}
	req, err := http.NewRequestWithContext(ctx, method, b.url+path, bytes.NewReader(content))
	if err != nil {
		return 0, jobs.NotCalled(err)
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if err := jobs.ResponseError(resp); err != nil {
		return 0, err
	}
	if answer != nil && resp.StatusCode == http.StatusCreated {
		err = json.NewDecoder(resp.Body).Decode(answer)
	}
	return resp.StatusCode, err
}
