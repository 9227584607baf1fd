package postgres

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/gateway"
)

// TestFailed checks which errors of the gateway's own statements tell the client to come back,
// and which of them replace the connections.
func TestFailed(t *testing.T) {
	t.Parallel()
	pool, err := pgxpool.New(t.Context(), "host=unused")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	for _, tt := range []struct {
		err                  error
		unavailable, renewed bool
	}{
		{io.ErrUnexpectedEOF, true, false},
		{&pgconn.PgError{Code: "40001"}, true, false},
		{&pgconn.PgError{Code: "57P01"}, true, false},
		{&pgconn.PgError{Code: readOnlyTransaction}, true, true},
		{&pgconn.PgError{Code: notSupported}, true, true},
		{&pgconn.PgError{Code: "42501"}, false, false},
		{&pgconn.PgError{Code: "42P01"}, false, false},
	} {
		b := &Backend{pool: pool}
		b.shared = newShared(b)
		err := b.failed(t.Context(), fmt.Errorf("do something: %w", tt.err))
		_, unavailable := errors.AsType[*gateway.UnavailableError](err)
		if renewed := !b.renewed.IsZero(); unavailable != tt.unavailable || renewed != tt.renewed {
			t.Errorf("%v: unavailable %t, renewed %t", err, unavailable, renewed)
		}
	}
}
