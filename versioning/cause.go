package versioning

import "errors"

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

// Each [*Error] is one of these, by its cause.
var (
	ErrInfrastructure = errors.New("infrastructure trouble, which may pass")
	ErrData           = errors.New("the database refuses the data of a record")
	ErrFatal          = errors.New("an error that retrying cannot fix")
)

// An Error is an error of a store, with what it means for the batch.
type Error struct {
	Cause Cause
	Err   error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the error without its cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is the error of the cause.
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
// such as an expired context, is Infrastructure; nil has NoCause.
func CauseOf(err error) Cause {
	if err == nil {
		return NoCause
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Cause
	}
	return Infrastructure
}
