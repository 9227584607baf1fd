package versioning

import "errors"

// Trouble returns an error that says that nothing is wrong with a record, but that it can't
// be decoded now: a service that decoding needs, such as a schema registry, does not answer.
// A worker retries such a record until it can be decoded, and makes no dead letter of it.
// The error wraps err and is an [ErrInfrastructure]. Trouble(nil) is nil.
func Trouble(err error) error {
	if err == nil {
		return nil
	}
	return &Error{Cause: Infrastructure, Err: err}
}

// Trouble returns Err if it is trouble: an [ErrInfrastructure] that the decode function has
// returned, such as one from [Trouble]. Such a record must not be applied, because it would
// be rejected; call Decode again later. A panic is never trouble.
func (r *Record) Trouble() error {
	if r.Err == nil || !errors.Is(r.Err, ErrInfrastructure) {
		return nil
	}
	if _, ok := errors.AsType[*PanicError](r.Err); ok {
		return nil
	}
	return r.Err
}
