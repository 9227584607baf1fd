package consumer

import (
	"encoding/json"
	"errors"
	"fmt"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"

	"github.com/pawl-go/pawl/versioning"
)

// A DecodeFunc returns the changes that a record asks for. All of them are made, or
// none. No changes and no error means that the record is of no interest. An
// error, and a panic too, rejects the record: it becomes a dead letter, with the
// error's text, or the panic's value and stack, as its detail. A
// [*versioning.Refusal] chooses the reason.
//
// The record has its Origin, Key, Value, Headers and Timestamp. The function must not
// keep or change it. A change without a message ID gets the one of the record's
// headers: see [versioning.Record.Decode], and [MessageIDFrom] for another header.
//
// Give the same function to Config.Decode and to [postgres.Store.Redrive]: both
// treat what it returns alike.
//
// A worker calls it in one goroutine, that of [Worker.Run]: a [runtime.Goexit] in it
// ends that goroutine, after the worker has left the group. Nothing of the current
// batch is written or committed then.
type DecodeFunc func(*versioning.Record) ([]versioning.Change, error)

// JSON makes a DecodeFunc from a function of the record's value, decoded as
// JSON into a T. A record without a value (a tombstone), a value that is not
// one JSON document or that does not fit a T rejects the record; fields that T
// does not have are ignored.
//
// Values are decoded as [json.Unmarshal] decodes them, with one exception. The
// names of fields match in whatever case, the last of several fields of one name
// wins, and types with an UnmarshalJSON method of their own, [json.Number] and
// [json.RawMessage] mean what they mean there. It takes about half the time.
//
// The exception is text that json.Unmarshal alters: it replaces bytes that are not
// UTF-8, and escapes of half a surrogate pair such as "\ud800", by U+FFFD, which
// makes one key of two. Such text rejects the record, wherever in it the text is.
func JSON[T any](changes func(T, *versioning.Record) ([]versioning.Change, error)) DecodeFunc {
	return func(r *versioning.Record) ([]versioning.Change, error) {
		var message T
		if err := unmarshal(r, &message); err != nil {
			return nil, err
		}
		return changes(message, r)
	}
}

// MessageIDFrom returns a DecodeFunc that gives the changes of decode which have no
// message ID the value of a header. Where a record has no such header, or an empty one,
// its origin is the ID. An empty name means that no header carries an ID.
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

func unmarshal(r *versioning.Record, into any) error {
	if r.Value == nil {
		return errors.New("record has no value (a tombstone)")
	}
	if err := jsonv2.Unmarshal(r.Value, into, likeStandard); err != nil {
		return fmt.Errorf("decode JSON: %w", err)
	}
	return nil
}

// likeStandard makes the decoder, which is the one that encoding/json is built on
// from Go 1.27 on, decode as encoding/json does, but for text that this alters. It
// has a Number of its own, and before Go 1.27 takes that of encoding/json for any
// other string.
var likeStandard = jsonv2.JoinOptions(
	jsonv1.DefaultOptionsV1(),
	jsontext.AllowInvalidUTF8(false), // the last one wins; it means escapes too
	jsonv2.WithUnmarshalers(jsonv2.UnmarshalFromFunc(func(d *jsontext.Decoder, n *json.Number) error {
		return (*jsonv1.Number)(n).UnmarshalJSONFrom(d)
	})),
)
