package codec

import (
	"errors"
	"fmt"
	"mime"
	"slices"
	"strings"
	"time"

	"github.com/pawl-go/pawl/versioning"
)

// MaxExtensions limits the extension attributes of a CloudEvent.
const MaxExtensions = 100

// StructuredJSON is the content type of CloudEvents that [CloudEvents] encodes. Set
// postgres.Table.ContentType to it if you emit them.
const StructuredJSON = "application/cloudevents+json; charset=UTF-8"

// An Event is a CloudEvent with decoded data.
type Event[T any] struct {
	// ID, Source and Type are never empty.
	ID     string
	Source string
	Type   string

	// The zero value of each of these means that the event does not have it. DataContentType
	// is the media type of the data as it was sent.
	Subject         string
	Time            time.Time
	DataContentType string
	DataSchema      string

	// Extensions has the other attributes by name, as text: booleans and numbers too. nil if
	// there are none.
	Extensions map[string]string

	// Data is what the codec of the data has decoded.
	Data T

	structured bool // the attributes were in the value
}

// messageID returns the event's message ID if headers do not say it.
func (e *Event[T]) messageID() string {
	if e == nil || !e.structured {
		return ""
	}
	return versioning.CloudEventID(e.Source, e.ID)
}

// CloudEvents returns the codec for CloudEvents 1.0 of Kafka's binding. The codec of the data
// decodes the data, from a record whose value is the data and whose headers are those of the
// record. An event without data has a nil value there, which [Optional] accepts.
//
// It decodes both modes. In the binary mode, the attributes are headers that begin with "ce_". In
// the structured mode, the header content-type is application/cloudevents+json, and the value is
// a JSON object. Decode returns an error for other formats, for batches, for records that are no
// CloudEvents, and for events without an ID, a source or a type.
//
// It encodes in the structured mode: see [StructuredJSON]. Data that is JSON, as
// Event.DataContentType says or if that is empty, is embedded; other data is encoded as base64.
// To emit in the binary mode, use the codec of the data alone: Pawl's messages have such
// attributes as headers.
func CloudEvents[T any](data Codec[T]) Codec[Event[T]] { return cloudEvents[T]{data} }

type cloudEvents[T any] struct{ data Codec[T] }

// Decode implements [Codec].
func (c cloudEvents[T]) Decode(r *versioning.Record) (Event[T], error) {
	var envelope envelope
	header, _ := r.Header("content-type")
	structured, err := isStructured(string(header))
	switch {
	case err != nil:
	case structured:
		envelope, err = parseEnvelope(r.Value)
	default:
		envelope, err = envelopeOf(r)
	}
	if err == nil {
		err = envelope.check()
	}
	if err != nil {
		return Event[T]{}, fmt.Errorf("CloudEvent: %w", err)
	}
	e := Event[T]{
		ID: envelope.id, Source: envelope.source, Type: envelope.kind, Subject: envelope.subject, Time: envelope.time,
		DataContentType: envelope.contentType, DataSchema: envelope.dataSchema, Extensions: envelope.extensions,
		structured: structured,
	}
	of := *r
	of.Value = envelope.data
	if e.Data, err = c.data.Decode(&of); err != nil {
		return Event[T]{}, fmt.Errorf("data of the CloudEvent: %w", err)
	}
	return e, nil
}

// isStructured reports whether a record with this content type is a CloudEvent in the structured
// mode.
func isStructured(contentType string) (bool, error) {
	const prefix = "application/cloudevents"
	if len(contentType) < len(prefix) || !strings.EqualFold(contentType[:len(prefix)], prefix) {
		return false, nil
	}
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return false, fmt.Errorf("content-type: %w", err)
	}
	if kind != "application/cloudevents+json" {
		return false, fmt.Errorf("content-type is %.100q; only the JSON format is known, and no batches", kind)
	}
	return true, nil
}

// An envelope is what a CloudEvent has around its data.
type envelope struct {
	specVersion, id, source, kind    string
	subject, contentType, dataSchema string
	time                             time.Time
	extensions                       map[string]string
	data                             []byte // nil if there is none
}

// set sets an attribute.
func (e *envelope) set(name, value string) (err error) {
	switch name {
	case "specversion":
		e.specVersion = value
	case "id":
		e.id = value
	case "source":
		e.source = value
	case "type":
		e.kind = value
	case "subject":
		e.subject = value
	case "datacontenttype":
		e.contentType = value
	case "dataschema":
		e.dataSchema = value
	case "time":
		if e.time, err = time.Parse(time.RFC3339Nano, value); err != nil {
			return fmt.Errorf("attribute time: %w", err)
		}
	default:
		if e.extensions == nil {
			e.extensions = make(map[string]string)
		}
		if e.extensions[name] = value; len(e.extensions) > MaxExtensions {
			return fmt.Errorf("it has more than %d extension attributes", MaxExtensions)
		}
	}
	return nil
}

var errNoEvent = errors.New("the record has neither the header ce_specversion nor the content-type of one")

// check checks the attributes that each event has.
func (e *envelope) check() error {
	var missing []string
	for _, a := range [...]struct{ name, value string }{{"id", e.id}, {"source", e.source}, {"type", e.kind}} {
		if a.value == "" {
			missing = append(missing, a.name)
		}
	}
	switch {
	case e.specVersion != "1.0":
		return fmt.Errorf("its specversion is %.20q, not 1.0", e.specVersion)
	case len(missing) > 0:
		return fmt.Errorf("it has no %s", strings.Join(missing, ", no "))
	}
	return nil
}

// envelopeOf returns the envelope of a CloudEvent in the binary mode. If an attribute occurs
// twice, the first one counts, as it does for the message ID.
func envelopeOf(r *versioning.Record) (envelope, error) {
	const prefix = "ce_"
	if _, ok := r.Header(prefix + "specversion"); !ok {
		return envelope{}, errNoEvent
	}
	e := envelope{data: r.Value}
	for _, h := range slices.Backward(r.Headers) {
		switch name, isAttribute := strings.CutPrefix(h.Key, prefix); {
		case isAttribute && !versioning.StorableText(string(h.Value)):
			return envelope{}, fmt.Errorf("attribute %.100q is not valid UTF-8", name)
		case isAttribute:
			if err := e.set(name, string(h.Value)); err != nil {
				return envelope{}, err
			}
		case h.Key == "content-type":
			e.contentType = string(h.Value)
		}
	}
	return e, nil
}
