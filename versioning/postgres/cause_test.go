package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

func TestCauseOf(t *testing.T) {
	t.Parallel()
	for want, codes := range map[versioning.Cause]string{
		versioning.Data: `20000 21000 22P02 22001 22003 22021 22P05 23502 23503 23505 23514 23P01 27000 38000 44000
			54000 54011 P0001 P0002 P0004 09000 45000 ORD01 ZZ001 99999`,
		versioning.Fatal: `0A000 28000 28P01 3D000 3F000 42501 42601 42703 42P01 42P05`,
		versioning.Infrastructure: `08000 08003 08006 25006 25P02 26000 40001 40P01 40003 53100 53200 53300 55P03 55006
			57014 57P01 57P02 57P03 58030 XX000 XX001 XX002 2F005 34000 39P01 0P000 F0000 HV000 shrt`,
	} {
		for code := range strings.FieldsSeq(codes) {
			err := &pgconn.PgError{Code: code}
			for _, e := range []error{err, fmt.Errorf("apply: %w", err), errors.Join(io.EOF, err)} {
				if got := versioning.CauseOf(e); got != want {
					t.Errorf("CauseOf(%v) with SQLSTATE %s = %v, want %v", e, code, got, want)
				}
			}
		}
	}
	for _, err := range []error{
		io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, os.ErrDeadlineExceeded, syscall.ECONNRESET, syscall.ECONNREFUSED,
		context.Canceled, context.DeadlineExceeded, pgx.ErrTxClosed, pgx.ErrTxCommitRollback, versioning.ErrContended,
		errors.New("anything"), &net.OpError{Op: "read", Err: syscall.EPIPE},
		errors.Join(context.Canceled, &pgconn.PgError{Code: "23505"}),
	} {
		if got := versioning.CauseOf(err); got != versioning.Infrastructure {
			t.Errorf("CauseOf(%v) = %v, want infrastructure", err, got)
		}
	}
	if got := versioning.CauseOf(nil); got != versioning.NoCause {
		t.Errorf("CauseOf(nil) = %v, want none", got)
	}
}

func TestCauseStrings(t *testing.T) {
	t.Parallel()
	for value, want := range map[fmt.Stringer]string{
		versioning.NoCause: "none", versioning.Infrastructure: "infrastructure", versioning.Data: "data",
		versioning.Fatal: "fatal", versioning.Cause(9): "unknown",
		versioning.Undecided: "undecided", versioning.Diverged: "diverged", versioning.Verdict(99): "verdict(99)",
		versioning.ByMessage: "by message", versioning.ByVersion: "by version", versioning.ByState: "by state",
		versioning.Identity(9): "identity(9)",
		versioning.At(3):       "3", versioning.Expected{}: "any",
	} {
		if got := value.String(); got != want {
			t.Errorf("%#v is %q, want %q", value, got, want)
		}
	}
}

// TestCauseOfRealTrouble asks PostgreSQL itself.
func TestCauseOfRealTrouble(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	var l log
	try := func(store *postgres.Store) versioning.Cause {
		r := l.say("a", "placed")
		store.Prepare(r)
		result, err := store.Apply(t.Context(), "", []*versioning.Record{r})
		if err == nil || len(result.Outcomes) > 0 {
			t.Errorf("Apply = %v, %v; want an error", result, err)
		}
		return versioning.CauseOf(err)
	}
	readOnly, _ := traced(t, pool, func(c *pgxpool.Config) {
		c.ConnConfig.RuntimeParams["default_transaction_read_only"] = "on"
	})
	if got := try(readOnly); got != versioning.Infrastructure {
		t.Errorf("a server that was demoted: %v", got)
	}
	slow, _ := traced(t, pool, func(c *pgxpool.Config) { c.ConnConfig.RuntimeParams["lock_timeout"] = "10" })
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `INSERT INTO orders VALUES ('a', 'pending', 1)`); err != nil {
		t.Fatal(err)
	}
	if got := try(slow); got != versioning.Infrastructure {
		t.Errorf("a lock that does not come: %v", got)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustExec(t, pool, `DROP TABLE orders`)
	if got := try(store); got != versioning.Infrastructure { // it may come back: a migration may be under way
		t.Errorf("a table that has gone: %v", got)
	}

	gone, err := pgx.ParseConfig(testenv.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	gone.Database = "nosuch"
	if conn, err := pgx.ConnectConfig(t.Context(), gone); versioning.CauseOf(err) != versioning.Fatal {
		t.Errorf("a database that is not there: %v, %v", conn, err)
	}
	gone.Host, gone.Port = "127.0.0.1", 1
	gone.Fallbacks = nil
	if conn, err := pgx.ConnectConfig(t.Context(), gone); versioning.CauseOf(err) != versioning.Infrastructure {
		t.Errorf("a server that does not answer: %v, %v", conn, err)
	}
}
