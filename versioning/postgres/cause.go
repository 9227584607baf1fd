package postgres

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawl-go/pawl/versioning"
)

// causes maps the class of a SQLSTATE, its first two characters, to a cause. It has all
// of PostgreSQL's classes that report an error (PostgreSQL documentation, appendix A).
// A code of any other class was chosen by a function, such as a trigger, and means that
// the function refuses the row.
var causes = map[string]versioning.Cause{
	"03": versioning.Infrastructure, // SQL statement not yet complete
	"08": versioning.Infrastructure, // connection exception
	"09": versioning.Data,           // triggered action exception
	"0A": versioning.Fatal,          // feature not supported
	"0B": versioning.Infrastructure, // invalid transaction initiation
	"0F": versioning.Infrastructure, // locator exception
	"0L": versioning.Infrastructure, // invalid grantor
	"0P": versioning.Infrastructure, // invalid role specification
	"0Z": versioning.Infrastructure, // diagnostics exception
	"10": versioning.Infrastructure, // XQuery error
	"20": versioning.Data,           // case not found, in a trigger
	"21": versioning.Data,           // cardinality violation
	"22": versioning.Data,           // data exception
	"23": versioning.Data,           // integrity constraint violation
	"24": versioning.Infrastructure, // invalid cursor state
	"25": versioning.Infrastructure, // invalid transaction state
	"26": versioning.Infrastructure, // invalid SQL statement name
	"27": versioning.Data,           // triggered data change violation
	"28": versioning.Fatal,          // invalid authorization
	"2B": versioning.Infrastructure, // dependent privilege descriptors still exist
	"2D": versioning.Infrastructure, // invalid transaction termination
	"2F": versioning.Infrastructure, // SQL routine exception
	"34": versioning.Infrastructure, // invalid cursor name
	"38": versioning.Data,           // external routine exception, such as in a trigger in Python
	"39": versioning.Infrastructure, // external routine invocation exception: a broken trigger
	"3B": versioning.Infrastructure, // savepoint exception
	"3D": versioning.Fatal,          // no such database
	"3F": versioning.Fatal,          // no such schema
	"40": versioning.Infrastructure, // transaction rollback
	"42": versioning.Fatal,          // syntax error, no such table or column, insufficient privilege
	"44": versioning.Data,           // WITH CHECK OPTION violation
	"53": versioning.Infrastructure, // insufficient resources
	"54": versioning.Data,           // program limit exceeded: a row or an index entry too large
	"55": versioning.Infrastructure, // object not in prerequisite state: locks
	"57": versioning.Infrastructure, // operator intervention
	"58": versioning.Infrastructure, // system error
	"72": versioning.Infrastructure, // snapshot failure
	"F0": versioning.Infrastructure, // configuration file error
	"HV": versioning.Infrastructure, // foreign data wrapper error
	"P0": versioning.Data,           // raised by a function: a trigger refused the row
	"XX": versioning.Infrastructure, // internal error
}

// withCause wraps an error that leaves the package in a [*versioning.Error].
func withCause(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*versioning.Error](err); ok {
		return err
	}
	return &versioning.Error{Cause: causeOf(err), Err: err}
}

// causeOf decides whether to retry after an error, whether one record caused it, or
// whether it is permanent. Errors that do not come from PostgreSQL, such as a broken
// connection or an expired context, are infrastructure.
func causeOf(err error) versioning.Cause {
	if err == nil {
		return versioning.NoCause
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return versioning.Infrastructure
	}
	switch {
	case errors.Is(err, ErrAllRefused), errors.Is(err, errAltered):
		return versioning.Infrastructure
	case errors.Is(err, ErrTable):
		return versioning.Fatal
	}
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || len(pgErr.Code) != 5 {
		return versioning.Infrastructure
	}
	switch {
	case errors.Is(err, errOwnTables), pgErr.Code == exhaustedSequence:
		return versioning.Infrastructure
	case pgErr.Code == insufficientPrivilege && pgErr.Routine == "ExecWithCheckOptions":
		return versioning.Data // row security refuses the row; missing privileges are found when the store opens
	}
	if cause, ok := causes[pgErr.Code[:2]]; ok {
		return cause
	}
	if _, connecting := errors.AsType[*pgconn.ConnectError](err); connecting {
		return versioning.Infrastructure // a pooler's code; no record was sent
	}
	return versioning.Data
}

const (
	insufficientPrivilege = "42501"
	notNull               = "23502"
	uniqueViolation       = "23505"
	undefinedTable        = "42P01"
	invalidText           = "22P02" // such as letters for an integer
	outOfRange            = "22003"
	undefinedColumn       = "42703"
	exhaustedSequence     = "2200H" // the message names the sequence
	activeTransaction     = "25001" // such as a statement in a trigger that can't run in a transaction
	objectNotReady        = "55000" // such as an unassigned record variable in a trigger
	objectInUse           = "55006" // such as a table altered by its own trigger
	internalError         = "XX000" // such as from an extension that does not accept a value
	queryCanceled         = "57014" // by statement_timeout, or by pg_cancel_backend
	lockNotAvailable      = "55P03" // within lock_timeout
	idleInTransaction     = "25P03" // idle_in_transaction_session_timeout
	transactionTimeout    = "25P04" // transaction_timeout, since PostgreSQL 17
	readOnlyTransaction   = "25006"
	serializationFailure  = "40001"
	deadlockDetected      = "40P01"
	unknownStatement      = "26000" // a prepared statement that the session does not have
	duplicateStatement    = "42P05" // a prepared statement that the session already has: it belongs to another client
	unsupportedFeature    = "0A000" // such as a cached plan whose result type has changed
	adminShutdown         = "57P01"
	crashShutdown         = "57P02"
	cannotConnectNow      = "57P03"
)

func isCode(err error, codes ...string) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && slices.Contains(codes, pgErr.Code)
}
