package codec_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pawl-go/pawl/codec"
	"github.com/pawl-go/pawl/versioning"
)

func headers(pairs ...string) (all []versioning.Header) {
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, versioning.Header{Key: pairs[i], Value: []byte(pairs[i+1])})
	}
	return all
}

func binary(value string, more ...string) *versioning.Record {
	base := []string{"ce_specversion", "1.0", "ce_id", "7", "ce_source", "/shop", "ce_type", "captured"}
	return &versioning.Record{Value: []byte(value), Headers: headers(append(base, more...)...)}
}

func structured(value string) *versioning.Record {
	return &versioning.Record{Value: []byte(value), Headers: headers("content-type", "Application/CloudEvents+JSON; charset=utf-8")}
}

const envelope = `"specversion":"1.0","id":"7","source":"/shop","type":"captured"`

func TestCloudEvents(t *testing.T) {
	t.Parallel()
	plain := codec.Event[payment]{ID: "7", Source: "/shop", Type: "captured", Data: payment{"1", 5}}
	with := func(change func(*codec.Event[payment])) codec.Event[payment] {
		e := plain
		change(&e)
		return e
	}
	full := func(e *codec.Event[payment]) {
		e.Subject, e.DataSchema, e.DataContentType = "s", "/schema", "application/json"
		e.Time = time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)
		e.Extensions = map[string]string{"traceparent": "00-x", "n": "5", "b": "true"}
	}
	const data = `{"id":"1","amount":5}`
	cases := map[string]struct {
		record *versioning.Record
		want   codec.Event[payment]
		err    string
	}{
		"binary": {binary(data), plain, ""},
		"binary, all attributes": {
			binary(data, "ce_subject", "s", "ce_dataschema", "/schema", "content-type", "application/json",
				"ce_time", "2026-01-02T03:04:05.0000006Z", "ce_traceparent", "00-x", "ce_n", "5", "ce_b", "true", "other", "x"),
			with(full), "",
		},
		"binary, an attribute twice": {binary(data, "ce_id", "8", "ce_type", "x"), plain, ""},
		"structured":                 {structured(`{` + envelope + `,"data":` + data + `}`), plain, ""},
		"structured, null attribute": {structured(`{` + envelope + `,"subject":null,"data":` + data + `}`), plain, ""},
		"structured, all attributes": {
			structured(`{` + envelope + `,"subject":"s","dataschema":"/schema","datacontenttype":"application/json",
				"time":"2026-01-02T03:04:05.0000006Z","traceparent":"00-x","n":5,"b":true,"data":` + data + `}`),
			with(full), "",
		},
		"structured, base64": {structured(`{` + envelope + `,"data_base64":"eyJpZCI6IjEiLCJhbW91bnQiOjV9"}`), plain, ""},
		"structured, text": {
			structured(`{` + envelope + `,"datacontenttype":"text/x","data":"{\"id\":\"1\",\"amount\":5}"}`),
			with(func(e *codec.Event[payment]) { e.DataContentType = "text/x" }), "",
		},

		"neither":                {&versioning.Record{Value: []byte(data)}, plain, "neither"},
		"binary, no data":        {&versioning.Record{Headers: binary("").Headers}, plain, "tombstone"},
		"binary, bad data":       {binary("x"), plain, "data of the CloudEvent"},
		"binary, bad time":       {binary(data, "ce_time", "now"), plain, "time"},
		"binary, bad UTF-8":      {binary(data, "ce_subject", "\xff"), plain, `attribute "subject"`},
		"binary, version":        {&versioning.Record{Headers: headers("ce_specversion", "0.3")}, plain, `"0.3"`},
		"binary, no attributes":  {&versioning.Record{Headers: headers("ce_specversion", "1.0")}, plain, "no id, no source, no type"},
		"batch":                  {&versioning.Record{Headers: headers("content-type", "application/cloudevents-batch+json")}, plain, "batch"},
		"avro":                   {&versioning.Record{Headers: headers("content-type", "application/cloudevents+avro")}, plain, "only the JSON"},
		"bad media type":         {&versioning.Record{Headers: headers("content-type", "application/cloudevents+json; =")}, plain, "content-type"},
		"structured, tombstone":  {&versioning.Record{Headers: structured("").Headers}, plain, "tombstone"},
		"structured, null":       {structured(`null`), plain, "null"},
		"structured, array":      {structured(`[]`), plain, "JSON"},
		"structured, no ID":      {structured(`{"specversion":"1.0","source":"/shop","type":"captured"}`), plain, "no id"},
		"structured, object":     {structured(`{` + envelope + `,"subject":{}}`), plain, "object"},
		"structured, no data":    {structured(`{` + envelope + `}`), plain, "tombstone"},
		"structured, both":       {structured(`{` + envelope + `,"data":1,"data_base64":"MQ=="}`), plain, "both"},
		"structured, bad base64": {structured(`{` + envelope + `,"data_base64":"*"}`), plain, "data_base64"},
		"structured, not text":   {structured(`{` + envelope + `,"datacontenttype":"text/plain","data":{}}`), plain, "text/plain"},
		"structured, bad type":   {structured(`{` + envelope + `,"datacontenttype":"","data":"x"}`), plain, "data of"},
	}
	c := codec.CloudEvents(codec.JSON[payment]())
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := c.Decode(tc.record)
			wantError(t, err, tc.err)
			if tc.err != "" {
				return
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.IgnoreUnexported(codec.Event[payment]{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The message ID of an event does not depend on its mode.
func TestMessageIDOfCloudEvents(t *testing.T) {
	t.Parallel()
	decode := codec.Decode(codec.CloudEvents(codec.JSON[payment]()), func(e codec.Event[payment], r *versioning.Record) ([]versioning.Change, error) {
		both, err := changes(e.Data, r)
		return append(both, versioning.Change{Key: "own", MessageID: "own"}), err
	})
	one := binary(`{"id":"1"}`)
	other := structured(`{` + envelope + `,"data":{"id":"1"}}`)
	one.Decode(decode)
	other.Decode(decode)
	for _, r := range []*versioning.Record{one, other} {
		if r.Err != nil || r.Changes[0].MessageID != "/shop 7" || r.Changes[1].MessageID != "own" {
			t.Errorf("%+v, %v", r.Changes, r.Err)
		}
	}
}

func TestExtensionsAreLimited(t *testing.T) {
	t.Parallel()
	c := codec.CloudEvents(codec.JSON[payment]())
	events := func(n int) (inHeaders, inValue *versioning.Record) {
		text, pairs := envelope, []string(nil)
		for i := range n {
			text += fmt.Sprintf(`,"x%d":1`, i)
			pairs = append(pairs, fmt.Sprintf("ce_x%d", i), "1")
		}
		return binary(`{}`, pairs...), structured(`{` + text + `,"data":{}}`)
	}
	for n, want := range map[int]string{codec.MaxExtensions: "", codec.MaxExtensions + 1: "more than 100"} {
		one, other := events(n)
		for _, r := range []*versioning.Record{one, other} {
			_, err := c.Decode(r)
			wantError(t, err, want)
		}
	}
}

// What is encoded is decoded to the same event.
func TestCloudEventsRoundTrip(t *testing.T) {
	t.Parallel()
	c := codec.CloudEvents(codec.JSON[payment]())
	for _, kind := range []string{"", "application/json", "application/x+json", "text/plain"} {
		want := codec.Event[payment]{
			ID: "7", Source: "/shop", Type: "captured", Subject: "s", DataContentType: kind, DataSchema: "/d",
			Time: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Extensions: map[string]string{"x": "y"}, Data: payment{"<1>", 5},
		}
		data, err := c.Encode("ledger", want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Decode(&versioning.Record{Value: data, Headers: headers("content-type", codec.StructuredJSON)})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(codec.Event[payment]{})); diff != "" {
			t.Errorf("%s\n%s", data, diff)
		}
	}
	for _, bad := range []codec.Event[payment]{
		{ID: "7", Source: "/shop"},
		{ID: "7", Source: "/shop", Type: "x", Extensions: map[string]string{"Not-Good": "y"}},
		{ID: "7", Source: "/shop", Type: "x", Extensions: map[string]string{"data": "y"}},
	} {
		if data, err := c.Encode("ledger", bad); err == nil {
			t.Errorf("encoded as %s", data)
		}
	}
}

// No value makes the decoder panic, and what it decodes can be encoded and decoded again.
func FuzzCloudEventsJSON(f *testing.F) {
	f.Add([]byte(`{` + envelope + `,"data":{"id":"1","amount":5}}`))
	f.Add([]byte(`{` + envelope + `,"data_base64":"eyJpZCI6IjEifQ==","n":5,"time":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte(`{` + envelope + `,"datacontenttype":"text/plain","data":"x","subject":null}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`{"id":1e400}`))
	c := codec.CloudEvents(codec.Optional(codec.JSON[json.RawMessage]()))
	f.Fuzz(func(t *testing.T, value []byte) {
		r := structured("")
		r.Value = value
		e, err := c.Decode(r)
		if err != nil {
			return
		}
		if e.ID == "" || e.Source == "" || e.Type == "" || len(e.Extensions) > codec.MaxExtensions {
			t.Fatalf("%+v", e)
		}
		data, err := c.Encode("t", e)
		if err != nil {
			return // names of attributes that are not legal
		}
		r.Value = data
		again, err := c.Decode(r)
		if err != nil || again.ID != e.ID || again.Source != e.Source || !again.Time.Equal(e.Time) {
			t.Fatalf("%s is decoded to %+v, %v; it was encoded from %+v", data, again, err, e)
		}
	})
}
