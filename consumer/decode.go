package consumer

import (
	"encoding/json"
	"errors"
	"fmt"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/versioning"
)

// A DecodeFunc says which changes a record asks for. All of them are made, or
// none. No changes and no error means that the record is of no interest. An
// error, and a panic too, rejects the record: it becomes a dead letter, with the
// error's text, or the panic's value and stack, as its detail. A
// [*versioning.Refusal] chooses the reason.
//
// The record must not be kept or changed. The function is called by one
// goroutine at a time, that of [Worker.Run]: a [runtime.Goexit] in it ends that
// goroutine, after the worker has left the group; nothing of the batch in hand
// is written or committed then.
type DecodeFunc func(*kgo.Record) ([]versioning.Change, error)

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
func JSON[T any](changes func(T, *kgo.Record) ([]versioning.Change, error)) DecodeFunc {
	return func(r *kgo.Record) ([]versioning.Change, error) {
		var message T
		if err := unmarshal(r, &message); err != nil {
			return nil, err
		}
		return changes(message, r)
	}
}

func unmarshal(r *kgo.Record, into any) error {
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

// safely asks the function, and turns a panic of it into an error.
func (decode DecodeFunc) safely(r *kgo.Record) (changes []versioning.Change, err error) {
	defer caught(&err, "Decode")
	return decode(r)
}
