package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawl-go/pawl/gateway"
)

// SQLSTATEs and their classes (PostgreSQL documentation, appendix A).
const (
	uniqueViolation     = "23505"
	readOnlyTransaction = "25006"
	unknownStatement    = "26000"
	noSavepoint         = "3B001"
	duplicateStatement  = "42P05"
	notSupported        = "0A000" // on a standby, to serialize; anywhere, a prepared statement whose result has changed
)

// passing are the classes of errors that can pass.
var passing = []string{
	"08", // connection exception
	"25", // invalid transaction state, such as a server that is read-only after a failover
	"40", // transaction rollback: deadlock, serialization failure
	"53", // insufficient resources
	"55", // object not in prerequisite state: locks
	"57", // operator intervention
	"58", // system error
	"XX", // internal error
}

// ErrPooler says that prepared statements do not stay with their connection, because a pooler
// gives each transaction another session.
var ErrPooler = errors.New("prepared statements do not stay with their connection, as behind a pooler in transaction mode: " +
	"add default_query_exec_mode=cache_describe to the connection string")

// failed returns an error of a statement for the caller whose context is ctx. Nothing has
// taken effect.
func (b *Backend) failed(ctx context.Context, err error) error {
	wrongSession := isCode(err, readOnlyTransaction, notSupported)
	if wrongSession {
		b.renew()
	}
	if cause := ctx.Err(); cause != nil {
		return fmt.Errorf("%w: %w", cause, err)
	}
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case !ok || len(pgErr.Code) != 5: // a broken connection, a timeout
		return b.unavailable(err)
	case wrongSession, slices.Contains(passing, pgErr.Code[:2]):
		return b.unavailable(err)
	case pgErr.Code == unknownStatement, pgErr.Code == duplicateStatement:
		return fmt.Errorf("%w: %w", ErrPooler, err)
	}
	if _, connecting := errors.AsType[*pgconn.ConnectError](err); connecting {
		return b.unavailable(err)
	}
	return err
}

// commitFailed returns an error of COMMIT. If the server has answered with an ERROR, it has
// rolled back. After anything else, nobody knows: the answer may be lost, and a server that
// is shut down may end the session after the transaction has committed.
func (b *Backend) commitFailed(err error) error {
	if errors.Is(err, pgx.ErrTxCommitRollback) {
		return fmt.Errorf("the transaction had failed: %w", err)
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.SeverityUnlocalized == "ERROR" {
		if slices.Contains(passing, pgErr.Code[:min(2, len(pgErr.Code))]) {
			return b.unavailable(err)
		}
		return fmt.Errorf("commit: %w", err)
	}
	return fmt.Errorf("%w: commit: %w", gateway.ErrFateUnknown, err)
}

func isCode(err error, codes ...string) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && slices.Contains(codes, pgErr.Code)
}
