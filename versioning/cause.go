package versioning

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
)

// A Cause says what an error of the database means for a batch.
type Cause uint8

const (
	// NoCause is the zero value: there is no error.
	NoCause Cause = iota

	// Infrastructure trouble passes: back off and try again. Nothing is wrong
	// with the records.
	Infrastructure

	// Data: PostgreSQL refused the data of one of the records.
	Data

	// Fatal: no attempt will do better before somebody changes the
	// configuration, the rights or the schema.
	Fatal
)

// String returns the cause's name in lower case.
func (c Cause) String() string {
	switch c {
	case NoCause:
		return "none"
	case Infrastructure:
		return "infrastructure"
	case Data:
		return "data"
	case Fatal:
		return "fatal"
	}
	return "unknown"
}

// causes decides by the class of the SQLSTATE, its first two characters
// (PostgreSQL documentation, appendix A). A class that is not here is none of
// PostgreSQL's: a function has raised it, such as a trigger, and it means the row.
var causes = map[string]Cause{
	"03": Infrastructure, // SQL statement not yet complete
	"08": Infrastructure, // connection exception
	"0A": Fatal,          // feature not supported
	"24": Infrastructure, // invalid cursor state
	"25": Infrastructure, // invalid transaction state
	"26": Infrastructure, // invalid SQL statement name
	"28": Fatal,          // invalid authorization
	"2D": Infrastructure, // invalid transaction termination
	"3B": Infrastructure, // savepoint exception
	"3D": Fatal,          // no such database
	"3F": Fatal,          // no such schema
	"40": Infrastructure, // transaction rollback
	"42": Fatal,          // syntax error, no such table or column, insufficient privilege
	"53": Infrastructure, // insufficient resources
	"55": Infrastructure, // object not in prerequisite state: locks
	"57": Infrastructure, // operator intervention
	"58": Infrastructure, // system error
	"72": Infrastructure, // snapshot failure
	"F0": Infrastructure, // configuration file error
	"HV": Infrastructure, // foreign data wrapper error
	"XX": Infrastructure, // internal error
}

// CauseOf decides whether an error is to be retried, is one record's fault, or
// ends the work. Errors that are not PostgreSQL's own, such as a broken
// connection or an expired context, are infrastructure.
func CauseOf(err error) Cause {
	if err == nil {
		return NoCause
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return Infrastructure
	}
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || len(pgErr.Code) != 5 {
		return Infrastructure
	}
	if cause, ok := causes[pgErr.Code[:2]]; ok {
		return cause
	}
	if _, connecting := errors.AsType[*pgconn.ConnectError](err); connecting {
		return Infrastructure // a pooler's code; no record was sent
	}
	return Data
}

const (
	insufficientPrivilege = "42501"
	queryCanceled         = "57014" // by statement_timeout, or by pg_cancel_backend
	lockNotAvailable      = "55P03" // within lock_timeout
	idleInTransaction     = "25P03" // idle_in_transaction_session_timeout
	transactionTimeout    = "25P04" // transaction_timeout, from PostgreSQL 17 on
	readOnlyTransaction   = "25006"
	unknownStatement      = "26000" // a prepared statement that the session does not have
	duplicateStatement    = "42P05" // one that it has already: it is another session's
	unsupportedFeature    = "0A000" // such as a cached plan whose result type has changed
	adminShutdown         = "57P01"
	crashShutdown         = "57P02"
	cannotConnectNow      = "57P03"
)

func isCode(err error, codes ...string) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && slices.Contains(codes, pgErr.Code)
}
