package versioning

import (
	"context"
	"errors"

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
// (PostgreSQL documentation, appendix A). Classes that are not here, such as 08
// connection, 40 rollback, 53 resources, 55 locks, 57 intervention, 58 system
// and XX internal, are infrastructure: the only mistake that can't be mended is
// to give up on a record that was fine.
var causes = map[string]Cause{
	"09": Data,  // triggered action exception
	"0A": Fatal, // feature not supported
	"20": Data,  // case not found, in a trigger
	"21": Data,  // cardinality violation
	"22": Data,  // data exception
	"23": Data,  // integrity constraint violation
	"27": Data,  // triggered data change violation
	"28": Fatal, // invalid authorization
	"38": Data,  // exception of an external routine, such as a trigger in Python
	"3D": Fatal, // no such database
	"3F": Fatal, // no such schema
	"42": Fatal, // syntax error, no such table or column, insufficient privilege
	"44": Data,  // WITH CHECK OPTION violation
	"54": Data,  // program limit exceeded: a row or an index entry too large
	"P0": Data,  // raised by a function: a trigger refused the row
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
	return Infrastructure
}

const (
	insufficientPrivilege = "42501"
	queryCanceled         = "57014" // by statement_timeout, or by pg_cancel_backend
)

func isCode(err error, code string) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == code
}
