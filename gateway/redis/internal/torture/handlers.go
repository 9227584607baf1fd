//go:build unix

package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/gateway/postgres"
)

// A payment is the body of a request.
type payment struct {
	ID     string `json:"id"`
	Refuse bool   `json:"refuse"`
	Pad    int    `json:"pad"`    // how long the response is
	Wallet string `json:"wallet"` // for the handler with a store
	Amount int64  `json:"amount"`
}

// read returns the payment, or answers the request.
func read(w http.ResponseWriter, r *http.Request) (p payment, ok bool) {
	if err := json.NewDecoder(r.Body).Decode(&p); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return p, false
	}
	return p, true
}

// fails answers some requests with a failure after their change, and is slow for others.
func fails(w http.ResponseWriter) bool {
	switch n := mathrand.N(100); {
	case n < 3:
		http.Error(w, "failed after it has written", http.StatusInternalServerError)
		return true
	case n < 4:
		time.Sleep(mathrand.N(2*lease) + lease/2)
	}
	return false
}

// answerWith sends the response of a payment. The nonce is that of its effect. The Etag differs
// for each run of a handler.
func (p payment) answerWith(w http.ResponseWriter, status int, nonce string) {
	w.Header().Set("Etag", strconv.Quote(rand.Text()))
	w.Header().Set("Location", "/payments/"+nonce)
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(status)
	fmt.Fprintf(w, "%s %s %s", p.ID, nonce, strings.Repeat("x", p.Pad))
}

// pay returns a handler that writes a row in the gateway's transaction, with a random number
// that is also in the response.
func pay(s setUp, pool *pgxpool.Pool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, ok := read(w, r)
		if !ok {
			return
		}
		exec := postgres.Tx(r.Context()).Exec
		if s.Plant == plantOutside {
			exec = pool.Exec
		}
		nonce := rand.Text()
		if _, err := exec(r.Context(), `INSERT INTO effects (key, nonce) VALUES ($1, $2)`, p.ID, nonce); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		if fails(w) {
			return
		}
		status := http.StatusCreated
		if p.Refuse {
			status = http.StatusPaymentRequired
		}
		p.answerWith(w, status, nonce)
	})
}
