package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// moves are the requests that move a payment. Records of the topic move it by the same
// events.
var moves = map[string]statemachine.Event{
	"POST /payments/{id}/authorizations": PaymentAuthorized,
	"POST /payments/{id}/captures":       PaymentCaptured,
	"POST /payments/{id}/refunds":        PaymentRefunded,
	"POST /payments/{id}/voids":          PaymentVoided,
}

// An api answers HTTP requests about payments.
type api struct {
	store  *postgres.Store
	pool   *pgxpool.Pool
	logger *slog.Logger
}

// handler returns the routes. Those that move a payment need an Idempotency-Key.
func (a *api) handler(backend gateway.Backend, callers callers) (http.Handler, error) {
	g, err := gateway.New(gateway.Config{
		Backend: backend,
		Tenant:  callerOf,
		Stores:  stores,
		Logger:  a.logger,
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	for pattern, event := range moves {
		mux.Handle(pattern, g.Handler(a.move(event)))
	}
	mux.HandleFunc("GET /payments/{id}", func(w http.ResponseWriter, r *http.Request) {
		a.answer(w, r, http.StatusOK)
	})
	return callers.authenticate(mux), nil
}

// stores reports whether a response is stored. A conflict is not: what is not legal yet may be
// legal when the request is sent again, and who has used a key first must still get an answer.
func stores(status int) bool { return status != http.StatusConflict }

// move returns a handler that moves a payment. It may run several times for one request: the
// message ID is the same each time, so the payment moves once, and the answer comes from the
// row. That needs the same changes each time; see readChanges.
func (a *api) move(event statemachine.Event) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked, err := readChanges(r, event)
		if err != nil {
			gateway.WriteProblem(w, gateway.Problem{Status: http.StatusBadRequest, Code: "invalid", Detail: err.Error()})
			return
		}
		outcome, err := a.store.Do(r.Context(), asked...)
		if err != nil {
			a.fail(w, r, err)
			return
		}
		switch outcome.Verdict {
		case versioning.Applied, versioning.Duplicate:
			a.answer(w, r, statusOf(event))
		case versioning.Early:
			problem(w, http.StatusConflict, outcome)
		case versioning.Diverged:
			// The changes follow from the body alone, so it is not an attempt of the same
			// request that has made another change: another request has used this key before,
			// and its response has expired. If this refusal were stored, that request would be
			// refused from now on, although its change was made.
			problem(w, http.StatusConflict, outcome)
		default:
			problem(w, http.StatusUnprocessableEntity, outcome)
		}
	})
}

func statusOf(event statemachine.Event) int {
	if event == PaymentAuthorized {
		return http.StatusCreated
	}
	return http.StatusOK
}

// readChanges returns the changes that a request asks for. Its body has the fields of a
// message; the path names the payment and the event. Nothing else may be in the changes, such as
// the time of day: the next attempt would be Diverged.
func readChanges(r *http.Request, event statemachine.Event) ([]versioning.Change, error) {
	var m message
	body := json.NewDecoder(r.Body)
	body.DisallowUnknownFields()
	if err := body.Decode(&m); err != nil && !errors.Is(err, io.EOF) { // a void has no body
		return nil, err
	}
	m.Type, m.Payment = event, r.PathValue("id")
	asked, err := changes(m, nil)
	for i := range asked {
		asked[i].MessageID = gateway.MessageID(r.Context())
	}
	return asked, err
}

// problem answers with the reason why a payment can't be moved.
func problem(w http.ResponseWriter, status int, outcome versioning.Outcome) {
	gateway.WriteProblem(w, gateway.Problem{Status: status, Code: string(outcome.Reason), Detail: outcome.Detail})
}

// fail answers 503, or 500 if trying again cannot help. Neither is stored, so the next attempt
// runs.
func (a *api) fail(w http.ResponseWriter, r *http.Request, err error) {
	a.logger.WarnContext(r.Context(), "a request failed", "error", err)
	status := http.StatusServiceUnavailable
	if versioning.CauseOf(err) == versioning.Fatal {
		status = http.StatusInternalServerError
	}
	gateway.WriteProblem(w, gateway.Problem{Status: status, Code: "failed", Detail: "Send this request again, with the same key."})
}

// A payment is what clients are told.
type payment struct {
	ID         string `json:"id"`
	State      string `json:"state"`
	Currency   string `json:"currency"`
	Authorized int64  `json:"authorized"`
	Captured   int64  `json:"captured"`
	Refunded   int64  `json:"refunded"`
	Fees       string `json:"fees"`
}

// answer answers with the payment as it is.
func (a *api) answer(w http.ResponseWriter, r *http.Request, status int) {
	p := payment{ID: r.PathValue("id")}
	const query = `SELECT state, currency, authorized, captured, refunded, fees::text FROM payments.payments WHERE id = $1`
	err := a.pool.QueryRow(r.Context(), query, p.ID).Scan(&p.State, &p.Currency, &p.Authorized, &p.Captured, &p.Refunded, &p.Fees)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		gateway.WriteProblem(w, gateway.Problem{Status: http.StatusNotFound, Code: "no_payment"})
		return
	case err != nil:
		a.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(p) // if the client has gone, it asks again
}

// callers are the names of those who may send requests, by the hash of their token.
type callers map[[sha256.Size]byte]string

// parseCallers reads "name=token,name=token".
func parseCallers(list string) (callers, error) {
	c := make(callers)
	for pair := range strings.SplitSeq(list, ",") {
		name, token, ok := strings.Cut(pair, "=")
		if !ok || name == "" || len(token) < 8 {
			return nil, errors.New("callers must be name=token, separated by commas, with tokens of at least 8 characters")
		}
		c[sha256.Sum256([]byte(token))] = name
	}
	return c, nil
}

type callerKey struct{}

// callerOf returns who has sent a request. Idempotency-Keys of different callers are
// different keys.
func callerOf(r *http.Request) string {
	name, _ := r.Context().Value(callerKey{}).(string)
	return name
}

// authenticate lets only requests with a known token pass.
func (c callers) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		hash := sha256.Sum256([]byte(token))
		for known, name := range c {
			if subtle.ConstantTimeCompare(known[:], hash[:]) == 1 {
				next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, name)))
				return
			}
		}
		w.Header().Set("WWW-Authenticate", "Bearer")
		gateway.WriteProblem(w, gateway.Problem{Status: http.StatusUnauthorized})
	})
}
