package postgres

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

	"github.com/pawl-go/pawl/versioning"
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
				if got := versioning.CauseOf(withCause(e)); got != want {
					t.Errorf("cause of %v with SQLSTATE %s = %v, want %v", e, code, got, want)
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
		if got := versioning.CauseOf(withCause(err)); got != versioning.Infrastructure {
			t.Errorf("CauseOf(%v) = %v, want infrastructure", err, got)
		}
	}
	if err := withCause(nil); err != nil {
		t.Errorf("withCause(nil) = %v", err)
	}
}
