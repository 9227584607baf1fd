//go:build unix

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	store "github.com/pawl-go/pawl/versioning/postgres"
)

// storeTables are the tables of the entities. The nonce stands for what only the database
// knows about an effect: a second row of a request has another.
const storeTables = `
CREATE TABLE payments (
	id text COLLATE "C" PRIMARY KEY, state text NOT NULL, version bigint NOT NULL,
	request text NOT NULL, pad bigint NOT NULL, nonce text NOT NULL DEFAULT gen_random_uuid());
CREATE TABLE wallets (
	id text COLLATE "C" PRIMARY KEY, state text NOT NULL, version bigint NOT NULL,
	balance bigint NOT NULL)`

// A receipt is what a machine writes into a row of payments.
type receipt struct {
	Request string `db:"request"`
	Pad     int64  `db:"pad"`
}

// payments is a machine whose event can happen any number of times: only the message ID tells
// a repeat from another payment. So are wallets.
var payments = statemachine.MustCompile(statemachine.Definition{
	Name: "payment", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "paid", To: "open", Do: statemachine.Do(keep)},
		{Event: "paid", From: statemachine.In("open"), To: "open", Do: statemachine.Do(keep)},
		{Event: "closed", From: statemachine.In("open"), To: "closed"},
	},
	Terminal: statemachine.In("closed"),
})

func keep(_ *statemachine.Firing, row *receipt, p payment) error {
	row.Request, row.Pad = p.ID, int64(p.Pad)
	return nil
}

type purse struct {
	Balance int64 `db:"balance"`
}

type deposit struct {
	Amount int64
	Refuse bool
}

// wallets are shared by many requests.
var wallets = statemachine.MustCompile(statemachine.Definition{
	Name: "wallet", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "deposited", To: "open", Do: statemachine.Do(add)},
		{Event: "deposited", From: statemachine.In("open"), To: "open", Do: statemachine.Do(add)},
		{Event: "closed", From: statemachine.In("open"), To: "closed"},
	},
	Terminal: statemachine.In("closed"),
})

func add(_ *statemachine.Firing, row *purse, d deposit) error {
	if d.Refuse {
		return errors.New("the wallet refuses it")
	}
	row.Balance += d.Amount
	return nil
}

// A payer is a handler that changes two entities through Store.Do, and answers from the row.
type payer struct {
	setUp setUp
	pool  *pgxpool.Pool
	store *store.Store
}

func openPayer(ctx context.Context, s setUp, pool *pgxpool.Pool) (*payer, error) {
	opened, err := patiently(func() (*store.Store, error) {
		return store.Open(ctx, pool, store.Table{Machine: payments, Name: "payments"}, store.Table{Machine: wallets, Name: "wallets"})
	})
	return &payer{setUp: s, pool: pool, store: opened}, err
}

func (h *payer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p, ok := read(w, r)
	if !ok {
		return
	}
	ctx, key := r.Context(), gateway.EntityKey(r.Context(), "")
	outcome, err := h.do(ctx, key, p)
	switch {
	case err != nil: // the change may have been made
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	case fails(w):
		return
	}
	switch outcome.Verdict {
	case versioning.Applied, versioning.Duplicate:
		h.answer(ctx, w, key)
	case versioning.Rejected:
		p.answerWith(w, http.StatusPaymentRequired, "refused")
	case versioning.Diverged:
		// Another request has used the key, and Redis has lost its response.
		http.Error(w, outcome.Detail, http.StatusUnprocessableEntity)
	default:
		http.Error(w, outcome.Detail, http.StatusBadRequest)
	}
}

// do makes the changes of a payment: both or neither.
func (h *payer) do(ctx context.Context, key string, p payment) (versioning.Outcome, error) {
	message := gateway.MessageID(ctx)
	if h.setUp.Plant == plantMessageID {
		message = rand.Text()
	}
	return h.store.Do(ctx,
		versioning.Change{Machine: "payment", Key: key, Event: "paid", Data: p, MessageID: message},
		versioning.Change{Machine: "wallet", Key: p.Wallet, Event: "deposited", Data: deposit{p.Amount, p.Refuse}, MessageID: message})
}

// answer sends what the row says.
func (h *payer) answer(ctx context.Context, w http.ResponseWriter, key string) {
	var (
		p     payment
		nonce string
	)
	if err := h.pool.QueryRow(ctx, `SELECT request, pad, nonce FROM payments WHERE id = $1`, key).Scan(&p.ID, &p.Pad, &nonce); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	if h.setUp.Plant == plantAnswer {
		p.ID += " " + rand.Text()
	}
	p.answerWith(w, http.StatusCreated, nonce)
}
