package codec

import (
	"fmt"

	"github.com/pawl-go/pawl/versioning"
)

// A Codec decodes the values of records into Ts, and encodes Ts as the values of messages. It is
// safe for concurrent use.
type Codec[T any] interface {
	// Decode decodes a record. It may use the value and the headers, and must not keep or
	// change them. An error makes the record Rejected, unless it is one of versioning.Trouble.
	Decode(r *versioning.Record) (T, error)

	// Encode encodes the value of a message to a topic. It is called in the fold, so the
	// result depends on its arguments only, and it does no I/O. An error makes the record
	// whose transition has emitted the message Rejected.
	Encode(topic string, value T) ([]byte, error)
}

// Decode returns a decode function for a worker, a replay or a redrive: it decodes a record with
// the codec and calls changes. If changes returns an error, the record is Rejected.
//
// If T is an [Event], changes without a message ID get the one of its source and ID.
func Decode[T any](c Codec[T], changes func(T, *versioning.Record) ([]versioning.Change, error)) func(*versioning.Record) ([]versioning.Change, error) {
	return func(r *versioning.Record) ([]versioning.Change, error) {
		value, err := c.Decode(r)
		if err != nil {
			return nil, err
		}
		all, err := changes(value, r)
		if err != nil {
			return nil, err
		}
		if named, ok := any(&value).(identified); ok { // an Event
			identify(all, named.messageID())
		} else if named, ok := any(value).(identified); ok { // a pointer to one, or nil
			identify(all, named.messageID())
		}
		return all, nil
	}
}

// identified is a value that says which message it is of.
type identified interface {
	messageID() string // "" if the record's headers say it
}

func identify(changes []versioning.Change, id string) {
	for i := range changes {
		if changes[i].MessageID == "" {
			changes[i].MessageID = id
		}
	}
}

// An Encoder encodes messages whose value has a certain type. [For] returns one.
type Encoder struct {
	encode func(topic string, value any) (data []byte, is bool, err error)
}

// For returns the Encoder of a codec. It takes Ts and pointers to Ts.
func For[T any](c Codec[T]) Encoder {
	return Encoder{func(topic string, value any) ([]byte, bool, error) {
		switch v := value.(type) {
		case *T:
			if v == nil {
				return nil, true, fmt.Errorf("the value is a nil %T; emit nil for a message without a value", v)
			}
			data, err := c.Encode(topic, *v)
			return data, true, err
		case T:
			data, err := c.Encode(topic, v)
			return data, true, err
		}
		return nil, false, nil
	}}
}

// Encode returns a function for postgres.Table.Encode. It encodes a message with the first of the
// encoders that takes the type of the message's value. A value that none takes is an error, which
// makes the record that has emitted it Rejected. A message without a value, and one whose value
// is []byte, need no encoder.
//
// Encode panics if an Encoder is the zero value.
func Encode(encoders ...Encoder) versioning.EncodeFunc {
	for i, e := range encoders {
		if e.encode == nil {
			panic(fmt.Sprintf("codec: Encode: encoder %d is the zero value; get one from codec.For", i))
		}
	}
	return func(topic string, value any) ([]byte, error) {
		for _, e := range encoders {
			if data, is, err := e.encode(topic, value); is {
				return data, err
			}
		}
		return nil, fmt.Errorf("no codec for a %T; pass one to codec.Encode", value)
	}
}
