package consumer

import (
	"github.com/pawl-go/pawl/internal/jsonvalue"
	"github.com/pawl-go/pawl/versioning"
)

// A DecodeFunc returns the changes that a record asks for. The store applies all of them or
// none. If it returns no changes and no error, the record is Ignored. If it returns an error
// or panics, the record is Rejected: it becomes a dead letter, with the error's text, or the
// panic's value and stack, as its detail. A [*versioning.Refusal] chooses the reason.
//
// If the function needs something that does not answer, such as a schema registry, it returns
// an error of [versioning.Trouble]. The worker then retries the record, with growing waits, until
// it can be decoded, the worker is stopped, or the partition is taken away. It applies nothing of
// the record's batch before, polls no more, and is Troubled meanwhile. The function gets no
// context, so it must limit its own waiting: stopping the worker waits for it.
//
// The record has its Origin, Key, Value, Headers and Timestamp. The function must not
// keep or change it. A change without a message ID gets the one of the record's
// headers: see [versioning.Record.Decode], and [MessageIDFrom] for another header.
//
// Pass the same function to Config.Decode and to [postgres.Store.Redrive]: both treat its
// results the same.
//
// It must be safe for concurrent use: a worker calls it in the goroutine of [Worker.Run], and in
// another one for the dead letters of older versions of a machine ([OlderRedriver]). If it calls
// [runtime.Goexit] in the goroutine of Run, the worker leaves the group and that goroutine ends.
// Nothing of the current batch is written or committed then.
type DecodeFunc func(*versioning.Record) ([]versioning.Change, error)

// JSON returns a DecodeFunc that decodes the record's value as JSON into a T and calls
// changes. A record is Rejected if it has no value (a tombstone), or if the value is not one
// JSON document or does not fit a T. Fields that T does not have are ignored.
//
// For a machine with functions, changes puts the event's data, such as the T or a part of
// it, into Change.Data.
//
// It decodes like [json.Unmarshal], with one exception, and takes about half the time: field
// names match in any case, the last of several fields with one name wins, and
// types with an UnmarshalJSON method, [json.Number] and [json.RawMessage] mean the same.
//
// The exception is text that json.Unmarshal alters: it replaces bytes that are not UTF-8, and
// escapes of half a surrogate pair such as "\ud800", with U+FFFD, so that two keys could
// become one. A record with such text anywhere in its value is Rejected.
func JSON[T any](changes func(T, *versioning.Record) ([]versioning.Change, error)) DecodeFunc {
	decoder := jsonvalue.For[T]()
	return func(r *versioning.Record) ([]versioning.Change, error) {
		message, err := decoder.Decode(r.Value)
		if err != nil {
			return nil, err
		}
		return changes(message, r)
	}
}

// MessageIDFrom returns a DecodeFunc that calls decode, and sets the message ID of each
// change that has none to the value of a header. If the record has no such header or it is
// empty, the ID is the record's origin. An empty header name means always the origin.
func MessageIDFrom(header string, decode DecodeFunc) DecodeFunc {
	return func(r *versioning.Record) ([]versioning.Change, error) {
		changes, err := decode(r)
		for i := range changes {
			if changes[i].MessageID == "" {
				changes[i].MessageID = idFrom(header, r)
			}
		}
		return changes, err
	}
}

func idFrom(header string, r *versioning.Record) string {
	if header != "" {
		if value, _ := r.Header(header); len(value) > 0 {
			return string(value)
		}
	}
	return r.Origin.ID()
}
