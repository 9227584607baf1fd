package versioning

import "errors"

// A Cause says what a database error means for a batch.
type Cause uint8

const (
	// NoCause is the zero value: there is no error.
	NoCause Cause = iota

	// Infrastructure errors can pass: back off and retry. Nothing is wrong with the
	// records.
	Infrastructure

	// Data: PostgreSQL refused the data of one of the records.
	Data

	// Fatal errors persist until somebody changes the configuration, the privileges or
	// the schema.
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

// Every [*Error] matches one of these with errors.Is, depending on its cause.
var (
	ErrInfrastructure = errors.New("infrastructure error: retry later")
	ErrData           = errors.New("the database rejected the data of a record")
	ErrFatal          = errors.New("an error that retrying cannot fix")
)

// ErrFateUnknown says that changes may or may not have been made, now or a little later: the
// caller stopped waiting, or the database did not answer. Making them again with the same
// message ID is safe. The outcome is Duplicate if they were made before.
var ErrFateUnknown = errors.New("the changes may or may not have been made; make them again with the same message ID to find out")

// An Error is an error of a store and its cause.
type Error struct {
	Cause Cause
	Err   error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the underlying error.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is the sentinel error of e's cause.
func (e *Error) Is(target error) bool {
	switch e.Cause {
	case Infrastructure:
		return target == ErrInfrastructure
	case Data:
		return target == ErrData
	case Fatal:
		return target == ErrFatal
	case NoCause:
	}
	return false
}

// CauseOf returns the cause of the first [*Error] in err's tree. An error without one,
// such as an expired context, is Infrastructure. The cause of nil is NoCause.
func CauseOf(err error) Cause {
	if err == nil {
		return NoCause
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Cause
	}
	return Infrastructure
}
