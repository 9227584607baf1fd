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

// causes decides by the class of the SQLSTATE, its first two characters: all classes
// of PostgreSQL's that report an error (PostgreSQL documentation, appendix A). A code
// of any other class was made up by a function, such as a trigger: it refuses the row.
var causes = map[string]Cause{
	"03": Infrastructure, // SQL statement not yet complete
	"08": Infrastructure, // connection exception
	"09": Data,           // triggered action exception
	"0A": Fatal,          // feature not supported
	"0B": Infrastructure, // invalid transaction initiation
	"0F": Infrastructure, // locator exception
	"0L": Infrastructure, // invalid grantor
	"0P": Infrastructure, // invalid role specification
	"0Z": Infrastructure, // diagnostics exception
	"10": Infrastructure, // XQuery error
	"20": Data,           // case not found, in a trigger
	"21": Data,           // cardinality violation
	"22": Data,           // data exception
	"23": Data,           // integrity constraint violation
	"24": Infrastructure, // invalid cursor state
	"25": Infrastructure, // invalid transaction state
	"26": Infrastructure, // invalid SQL statement name
	"27": Data,           // triggered data change violation
	"28": Fatal,          // invalid authorization
	"2B": Infrastructure, // dependent privilege descriptors still exist
	"2D": Infrastructure, // invalid transaction termination
	"2F": Infrastructure, // SQL routine exception
	"34": Infrastructure, // invalid cursor name
	"38": Data,           // exception of an external routine, such as a trigger in Python
	"39": Infrastructure, // external routine invocation exception: a trigger that is broken
	"3B": Infrastructure, // savepoint exception
	"3D": Fatal,          // no such database
	"3F": Fatal,          // no such schema
	"40": Infrastructure, // transaction rollback
	"42": Fatal,          // syntax error, no such table or column, insufficient privilege
	"44": Data,           // WITH CHECK OPTION violation
	"53": Infrastructure, // insufficient resources
	"54": Data,           // program limit exceeded: a row or an index entry too large
	"55": Infrastructure, // object not in prerequisite state: locks
	"57": Infrastructure, // operator intervention
	"58": Infrastructure, // system error
	"72": Infrastructure, // snapshot failure
	"F0": Infrastructure, // configuration file error
	"HV": Infrastructure, // foreign data wrapper error
	"P0": Data,           // raised by a function: a trigger refused the row
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
	switch {
	case errors.Is(err, ErrAllRefused), errors.Is(err, errAltered):
		return Infrastructure
	case errors.Is(err, ErrTable):
		return Fatal
	}
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || len(pgErr.Code) != 5 {
		return Infrastructure
	}
	switch {
	case errors.Is(err, errOwnTables), pgErr.Code == exhaustedSequence:
		return Infrastructure
	case pgErr.Code == insufficientPrivilege && pgErr.Routine == "ExecWithCheckOptions":
		return Data // row security refuses the row; a right that is missing is found elsewhere
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
	exhaustedSequence     = "2200H" // the message names the sequence
	activeTransaction     = "25001" // such as a statement of a trigger that can't run in a transaction
	objectNotReady        = "55000" // such as a record variable of a trigger that was not assigned
	objectInUse           = "55006" // such as a table that a trigger on it alters
	internalError         = "XX000" // such as one that an extension makes of a value that it does not take
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
