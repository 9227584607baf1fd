package codec_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pawl-go/pawl/codec"
	"github.com/pawl-go/pawl/versioning"
)

type payment struct {
	ID     string `json:"id"`
	Amount int64  `json:"amount"`
}

func changes(p payment, _ *versioning.Record) ([]versioning.Change, error) {
	if p.ID == "" {
		return nil, errors.New("no ID")
	}
	return []versioning.Change{{Key: p.ID, Event: "payment.captured", Data: p}}, nil
}

func TestJSON(t *testing.T) {
	t.Parallel()
	decode := codec.Decode(codec.JSON[payment](), changes)
	cases := map[string]struct {
		value []byte
		want  string // of the error
	}{
		"good":          {[]byte(`{"id":"1","amount":5,"more":true}`), ""},
		"tombstone":     {nil, "tombstone"},
		"empty":         {[]byte{}, "decode JSON"},
		"not JSON":      {[]byte(`{"id`), "decode JSON"},
		"two documents": {[]byte(`{"id":"1"} {}`), "decode JSON"},
		"bad UTF-8":     {[]byte("{\"id\":\"\xff\"}"), "decode JSON"},
		"wrong type":    {[]byte(`{"id":"1","amount":"x"}`), "decode JSON"},
		"refused":       {[]byte(`{}`), "no ID"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := versioning.Record{Value: c.value}
			r.Decode(decode)
			wantError(t, r.Err, c.want)
			if c.want != "" {
				return
			}
			want := []versioning.Change{{Key: "1", Event: "payment.captured", Data: payment{"1", 5}}}
			if diff := cmp.Diff(want, r.Changes, cmp.AllowUnexported(versioning.Expected{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// wantError checks that the text of an error contains want; if want is empty, that there is none.
func wantError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Fatal(err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Fatalf("error %v, want %q", err, want)
	}
}

func TestOptional(t *testing.T) {
	t.Parallel()
	c := codec.Optional(codec.JSON[payment]())
	if got, err := c.Decode(&versioning.Record{}); err != nil || got != nil {
		t.Errorf("a tombstone is decoded to %v, %v", got, err)
	}
	got, err := c.Decode(&versioning.Record{Value: []byte(`{"id":"1"}`)})
	if err != nil || got == nil || got.ID != "1" {
		t.Errorf("decoded to %v, %v", got, err)
	}
	if got, err := c.Decode(&versioning.Record{Value: []byte("x")}); err == nil || got != nil {
		t.Errorf("decoded to %v, %v", got, err)
	}
	if data, err := c.Encode("t", nil); err != nil || data != nil {
		t.Errorf("nil is encoded as %q, %v", data, err)
	}
	if data, err := c.Encode("t", &payment{ID: "1"}); err != nil || string(data) != `{"id":"1","amount":0}` {
		t.Errorf("encoded as %q, %v", data, err)
	}
}

// A tombstone has no event, and so no message ID of one.
func TestTombstoneOfEvent(t *testing.T) {
	t.Parallel()
	decode := codec.Decode(codec.Optional(codec.CloudEvents(codec.JSON[payment]())), func(e *codec.Event[payment], r *versioning.Record) ([]versioning.Change, error) {
		if e == nil {
			return []versioning.Change{{Key: string(r.Key), Event: "deleted"}}, nil
		}
		return []versioning.Change{{Key: e.Data.ID, Event: "changed"}}, nil
	})
	if got, err := decode(&versioning.Record{Key: []byte("1")}); err != nil || len(got) != 1 || got[0].Event != "deleted" || got[0].MessageID != "" {
		t.Errorf("a tombstone is decoded to %v, %v", got, err)
	}
	structured := &versioning.Record{
		Headers: []versioning.Header{{Key: "content-type", Value: []byte("application/cloudevents+json")}},
		Value:   []byte(`{"specversion":"1.0","id":"7","source":"/shop","type":"t","data":{"id":"1"}}`),
	}
	if got, err := decode(structured); err != nil || len(got) != 1 || got[0].Event != "changed" || got[0].MessageID != versioning.CloudEventID("/shop", "7") {
		t.Errorf("an event is decoded to %v, %v", got, err)
	}
}

func TestEncode(t *testing.T) {
	t.Parallel()
	type other struct{ N int }
	encode := codec.Encode(codec.For(codec.JSON[payment]()), codec.For(codec.JSON[json.Marshaler]()))
	cases := map[string]struct {
		value any
		want  string
		err   string
	}{
		"value":       {payment{"1", 5}, `{"id":"1","amount":5}`, ""},
		"pointer":     {&payment{"1", 5}, `{"id":"1","amount":5}`, ""},
		"nil pointer": {(*payment)(nil), "", "nil"},
		"interface":   {json.RawMessage("[1]"), "[1]", ""},
		"unknown":     {other{1}, "", "no codec for a codec_test.other"},
		"can't":       {json.RawMessage("["), "", "encode JSON"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, err := encode("ledger", c.value)
			wantError(t, err, c.err)
			if string(data) != c.want {
				t.Errorf("encoded as %q", data)
			}
		})
	}
}

func TestZeroEncoder(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("the zero Encoder is accepted")
		}
	}()
	codec.Encode(codec.Encoder{})
}
