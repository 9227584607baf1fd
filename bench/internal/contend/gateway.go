package contend

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/bench/internal/traffic"
	"github.com/pawl-go/pawl/gateway"
	responses "github.com/pawl-go/pawl/gateway/postgres"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// Contenders of the workloads with HTTP requests.
var (
	FirstRequests    = []string{Pawl, PawlRow, PawlTransaction, PawlRedis, HandSharded}
	RepeatedRequests = []string{Pawl, PawlTransaction, PawlRedis, BareSelect, AnswerOnly}
	LoneRequests     = []string{Pawl, PawlRedis, RedisAlone, WithoutGateway, PawlTransaction, PawlRedisTransaction, OneTransaction}
)

// services are the HTTP handlers of the contenders, for POST /orders.
var services = map[string]func(ctx context.Context, s site) (http.Handler, error){
	Pawl:                 func(ctx context.Context, s site) (http.Handler, error) { return s.gathering(ctx, false) },
	PawlRow:              func(ctx context.Context, s site) (http.Handler, error) { return s.gathering(ctx, true) },
	PawlTransaction:      transactionService,
	PawlRedis:            func(ctx context.Context, s site) (http.Handler, error) { return s.gathering(ctx, false) },
	PawlRedisTransaction: transactionService,
	RedisAlone:           func(ctx context.Context, s site) (http.Handler, error) { return s.redisAlone(ctx) },
	WithoutGateway:       func(ctx context.Context, s site) (http.Handler, error) { return s.do(ctx, false) },
	OneTransaction:       func(_ context.Context, s site) (http.Handler, error) { return s.transact(), nil },
	HandSharded:          func(_ context.Context, s site) (http.Handler, error) { return s.keyed(), nil },
	BareSelect:           func(_ context.Context, s site) (http.Handler, error) { return s.selecting(), nil },
	AnswerOnly:           func(context.Context, site) (http.Handler, error) { return answering(), nil },
}

// A site is what a service uses.
type site struct {
	pool    *pgxpool.Pool
	machine *statemachine.Machine
	redis   string // the address of Redis; empty for contenders without
}

// gathering returns a gateway in front of a handler that uses Store.Do.
func (s site) gathering(ctx context.Context, readRow bool) (http.Handler, error) {
	backend, err := responses.Open(ctx, s.pool, responses.Config{})
	if err != nil {
		return nil, err
	}
	handler, err := s.do(ctx, readRow)
	if err != nil {
		return nil, err
	}
	whole, err := s.behindRedis(ctx, backend.WithoutTransaction())
	if err != nil {
		return nil, err
	}
	return guarded(whole, handler)
}

// transactionService is a gateway that gives a handler its transaction.
func transactionService(ctx context.Context, s site) (http.Handler, error) {
	backend, err := responses.Open(ctx, s.pool, responses.Config{MaxRunning: max(1, int(s.pool.Config().MaxConns)-1)})
	if err != nil {
		return nil, err
	}
	whole, err := s.behindRedis(ctx, backend)
	if err != nil {
		return nil, err
	}
	t := newTransactor(s.pool, s.machine)
	return guarded(whole, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var message traffic.Message
		if err := json.NewDecoder(r.Body).Decode(&message); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, err := t.write(r.Context(), responses.Tx(r.Context()), gateway.MessageID(r.Context()), &message)
		respond(w, &message, err)
	}))
}

func guarded(backend gateway.Backend, handler http.Handler) (http.Handler, error) {
	g, err := gateway.New(gateway.Config{
		Backend: backend,
		Tenant:  func(*http.Request) string { return "bench" },
	})
	if err != nil {
		return nil, err
	}
	return g.Handler(handler), nil
}

// do returns a handler that makes changes with Store.Do. With readRow, it reads the row after
// that, as a handler does whose response needs it.
func (s site) do(ctx context.Context, readRow bool) (http.Handler, error) {
	store, err := postgres.Open(ctx, s.pool, postgres.Table{Machine: s.machine, Name: table})
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var message traffic.Message
		if err := json.NewDecoder(r.Body).Decode(&message); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		all, err := changes(message, nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if all[0].MessageID = gateway.MessageID(r.Context()); all[0].MessageID == "" {
			all[0].MessageID = r.Header.Get(keyHeader)
		}
		outcome, err := store.Do(r.Context(), all...)
		switch {
		case err != nil:
		case outcome.Verdict != versioning.Applied && outcome.Verdict != versioning.Duplicate:
			err = fmt.Errorf("%v is %v: %s", outcome.Entity, outcome.Verdict, outcome.Detail)
		case readRow:
			var now row
			err = s.pool.QueryRow(r.Context(), `SELECT state, version FROM orders WHERE id = $1`, message.Key).Scan(&now.state, &now.version)
		}
		respond(w, &message, err)
	}), nil
}

// transact returns a handler that makes a change in a transaction, as people do by hand. It
// knows no keys.
func (s site) transact() http.Handler {
	t := newTransactor(s.pool, s.machine)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var message traffic.Message
		if err := json.NewDecoder(r.Body).Decode(&message); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		err := pgx.BeginFunc(r.Context(), s.pool, func(tx pgx.Tx) error {
			_, err := t.write(r.Context(), tx, r.Header.Get(keyHeader), &message)
			return err
		})
		respond(w, &message, err)
	})
}

// errKnown ends a transaction whose key has been used.
var errKnown = errors.New("the key has been used")

// keyed returns a handler that makes requests idempotent as people do by hand: in a
// transaction, it inserts the key, makes the change, and stores the response with the key. A
// repeat waits for the first one at the primary key, and gets its response.
func (s site) keyed() http.Handler {
	t := newTransactor(s.pool, s.machine)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		var message traffic.Message
		if err := json.Unmarshal(body, &message); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		key, fingerprint := r.Header.Get(keyHeader), sha256.Sum256(body)
		var response []byte
		err = pgx.BeginFunc(r.Context(), s.pool, func(tx pgx.Tx) error {
			tag, err := tx.Exec(r.Context(), `INSERT INTO order_requests (key, fingerprint) VALUES ($1, $2) ON CONFLICT DO NOTHING`, key, fingerprint[:])
			if err == nil && tag.RowsAffected() == 0 {
				err = errKnown
			}
			if err != nil {
				return err
			}
			if _, err := t.write(r.Context(), tx, key, &message); err != nil {
				return err
			}
			response = represent(&message)
			_, err = tx.Exec(r.Context(), `UPDATE order_requests SET status = 200, response = $2 WHERE key = $1`, key, response)
			return err
		})
		switch {
		case errors.Is(err, errKnown):
			s.repeat(w, r, key, fingerprint[:])
		case err != nil:
			respond(w, &message, err)
		default:
			send(w, http.StatusOK, response)
		}
	})
}

// repeat answers with a stored response.
func (s site) repeat(w http.ResponseWriter, r *http.Request, key string, fingerprint []byte) {
	const query = `SELECT status, response FROM order_requests WHERE key = $1 AND fingerprint = $2`
	var status int
	var response []byte
	if err := s.pool.QueryRow(r.Context(), query, key, fingerprint).Scan(&status, &response); err != nil {
		respond(w, nil, err)
		return
	}
	send(w, status, response)
}

// selecting returns a handler that answers with what a SELECT finds by the key. It does
// nothing else, not even look at the body. Until there are responses, it is keyed.
func (s site) selecting() http.Handler {
	const query = `SELECT response FROM order_requests WHERE key = $1`
	keyed := s.keyed()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var response []byte
		err := s.pool.QueryRow(r.Context(), query, r.Header.Get(keyHeader)).Scan(&response)
		if errors.Is(err, pgx.ErrNoRows) {
			keyed.ServeHTTP(w, r)
			return
		}
		if err != nil {
			respond(w, nil, err)
			return
		}
		send(w, http.StatusOK, response)
	})
}

// answering returns a handler that sends a response of the usual size, and does nothing else:
// what HTTP itself costs.
func answering() http.Handler {
	response := represent(&traffic.Message{Key: "ord-00000000", Event: "captured", At: "2026-01-01T00:00:00.000Z"})
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { send(w, http.StatusOK, response) })
}

const keyHeader = "Idempotency-Key"

// represent returns what clients are told of a change.
func represent(m *traffic.Message) []byte {
	return fmt.Appendf(nil, `{"id":%q,"event":%q,"at":%q,"links":{"self":"/orders/%s","payments":"/orders/%s/payments"}}`+"\n",
		m.Key, m.Event, m.At, m.Key, m.Key)
}

// respond answers with a change, or with an error.
func respond(w http.ResponseWriter, m *traffic.Message, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	send(w, http.StatusOK, represent(m))
}

func send(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client notices if it is missing
}
