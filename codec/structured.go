package codec

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"slices"
	"strings"
	"time"

	"github.com/pawl-go/pawl/internal/jsonvalue"
)

var (
	objects = jsonvalue.For[map[string]json.RawMessage]()
	texts   = jsonvalue.For[string]()
)

// parseEnvelope parses a CloudEvent in the JSON format.
func parseEnvelope(value []byte) (e envelope, err error) {
	members, err := objects.Decode(value)
	if err != nil {
		return envelope{}, err
	}
	if members == nil {
		return envelope{}, errors.New("the value is null")
	}
	data, encoded := members["data"], members["data_base64"]
	delete(members, "data")
	delete(members, "data_base64")
	for _, name := range slices.Sorted(maps.Keys(members)) { // the same error each time
		text, ok, err := attribute(members[name])
		if err != nil {
			return envelope{}, fmt.Errorf("attribute %.100q: %w", name, err)
		}
		if ok {
			if err := e.set(name, text); err != nil {
				return envelope{}, err
			}
		}
	}
	e.data, err = dataOf(data, encoded, e.contentType)
	return e, err
}

// dataOf returns the data of an event: from its member data, or from data_base64. It returns nil
// if the event has none.
func dataOf(data, encoded json.RawMessage, contentType string) ([]byte, error) {
	switch {
	case data != nil && encoded != nil:
		return nil, errors.New("it has both data and data_base64")
	case encoded != nil && !isNull(encoded):
		text, err := texts.Decode(encoded)
		if err != nil {
			return nil, fmt.Errorf("data_base64: %w", err)
		}
		decoded, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("data_base64: %w", err)
		}
		return decoded, nil
	case data != nil && isJSON(contentType):
		return data, nil
	case data != nil && !isNull(data):
		text, err := texts.Decode(data)
		if err != nil {
			return nil, fmt.Errorf("data with datacontenttype %.100q: %w", contentType, err)
		}
		return []byte(text), nil
	}
	return nil, nil
}

func isNull(raw json.RawMessage) bool { return string(raw) == "null" }

// attribute returns the text of an attribute. null means that the event does not have it.
func attribute(raw json.RawMessage) (text string, ok bool, err error) {
	switch raw[0] {
	case 'n':
		return "", false, nil
	case '"':
		text, err = texts.Decode(raw)
		return text, true, err
	case '{', '[':
		return "", false, errors.New("it is an object or an array")
	}
	return string(raw), true, nil // true, false, or a number
}

// isJSON reports whether data of a media type is embedded as JSON. That is what no media type
// means.
func isJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return false
	}
	return strings.HasSuffix(kind, "/json") || strings.HasSuffix(kind, "+json")
}

// Encode implements [Codec].
func (c cloudEvents[T]) Encode(topic string, e Event[T]) ([]byte, error) {
	check := envelope{specVersion: "1.0", id: e.ID, source: e.Source, kind: e.Type}
	if err := check.check(); err != nil {
		return nil, fmt.Errorf("CloudEvent: %w", err)
	}
	members := make(map[string]any, 8+len(e.Extensions))
	for name, value := range e.Extensions {
		if !isAttributeName(name) {
			return nil, fmt.Errorf("CloudEvent: %.100q can't be the name of an extension attribute: use lower-case letters and digits", name)
		}
		members[name] = value
	}
	maps.Copy(members, map[string]any{"specversion": "1.0", "id": e.ID, "source": e.Source, "type": e.Type})
	for name, value := range map[string]string{"subject": e.Subject, "datacontenttype": e.DataContentType, "dataschema": e.DataSchema} {
		if value != "" {
			members[name] = value
		}
	}
	if !e.Time.IsZero() {
		members["time"] = e.Time.Format(time.RFC3339Nano)
	}
	data, err := c.data.Encode(topic, e.Data)
	switch {
	case err != nil:
		return nil, fmt.Errorf("data of the CloudEvent: %w", err)
	case data == nil:
	case isJSON(e.DataContentType):
		members["data"] = json.RawMessage(data)
	default:
		members["data_base64"] = data // json encodes bytes as base64
	}
	text, err := json.Marshal(members)
	if err != nil {
		return nil, fmt.Errorf("CloudEvent: %w", err)
	}
	return text, nil
}

// isAttributeName reports whether an extension attribute may have a name.
func isAttributeName(name string) bool {
	switch name {
	case "", "data", "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema":
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
}
