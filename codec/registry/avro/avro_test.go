package avro_test

import (
	"encoding/hex"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	lib "github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/pawl-go/pawl/codec"
	"github.com/pawl-go/pawl/codec/registry"
	"github.com/pawl-go/pawl/codec/registry/avro"
	"github.com/pawl-go/pawl/codec/registry/registrytest"
	"github.com/pawl-go/pawl/versioning"
)

type Payment struct {
	ID     string    `avro:"id"`
	Amount int64     `avro:"amount"`
	At     time.Time `avro:"at"`
	Note   string    `avro:"note,default=none"`
}

var _ codec.Codec[Payment] = (*avro.Codec[Payment])(nil)

func open(t testing.TB, server *registrytest.Registry) *registry.Registry {
	t.Helper()
	reg, err := registry.New(registry.Config{Client: server.Client()})
	if err != nil {
		t.Fatal(err)
	}
	return reg
}

func newCodec[T any](t testing.TB, server *registrytest.Registry, opts avro.Options) *avro.Codec[T] {
	t.Helper()
	c, err := avro.New[T](open(t, server), opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// written returns a record with a value that another program has written with a schema.
func written(t testing.TB, server *registrytest.Registry, schema string, value any) *versioning.Record {
	t.Helper()
	data, err := lib.MustParse(schema).Encode(value)
	if err != nil {
		t.Fatal(err)
	}
	return raw(server.Add("payments-value", sr.Schema{Schema: schema}), data)
}

func raw(id int, data []byte) *versioning.Record {
	return &versioning.Record{Value: append([]byte{0, byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)}, data...)}
}

const full = `{"type":"record","name":"Payment","namespace":"shop","fields":[
	{"name":"id","type":"string"},{"name":"amount","type":"long"},
	{"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"note","type":"string"}]}`

// fields is a schema of a payment with other fields.
func fields(name, text string) string {
	return `{"type":"record","name":"` + name + `","fields":[{"name":"id","type":"string"},
		{"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},` + text + `]}`
}

func TestDecode(t *testing.T) {
	t.Parallel()
	server := registrytest.New()
	at := time.UnixMilli(1_700_000_000_123).UTC()
	plain := Payment{"1", 5, at, "none"}
	with := func(more map[string]any) map[string]any {
		more["id"], more["at"] = "1", at
		return more
	}
	cases := map[string]struct {
		record *versioning.Record
		want   Payment
		err    string
	}{
		"same":     {written(t, server, full, Payment{"1", 5, at, "n"}), Payment{"1", 5, at, "n"}, ""},
		"older":    {written(t, server, fields("Payment", `{"name":"amount","type":"long"}`), with(map[string]any{"amount": 5})), plain, ""},
		"promoted": {written(t, server, fields("Payment", `{"name":"amount","type":"int"}`), with(map[string]any{"amount": 5})), plain, ""},
		"newer": {
			written(t, server, fields("Payment", `{"name":"amount","type":"long"},{"name":"tags","type":{"type":"array","items":"string"}}`),
				with(map[string]any{"amount": 5, "tags": []string{"x"}})), plain, "",
		},

		"another record":  {written(t, server, fields("Refund", `{"name":"amount","type":"long"}`), with(map[string]any{"amount": 5})), plain, "Refund can't be read as Payment"},
		"another type":    {written(t, server, fields("Payment", `{"name":"amount","type":"string"}`), with(map[string]any{"amount": "5"})), plain, "amount"},
		"a field missing": {written(t, server, fields("Payment", `{"name":"x","type":"long"}`), with(map[string]any{"x": 5})), plain, "amount"},
		"too short":       {raw(server.Add("payments-value", sr.Schema{Schema: full}), []byte{2}), plain, "decode Avro"},
		"too long":        {raw(server.Add("payments-value", sr.Schema{Schema: full}), []byte("\x021\x0a\x00\x00more")), plain, "4 bytes follow"},
		"no prefix":       {&versioning.Record{Value: []byte("{}")}, plain, "names no schema"},
		"unknown ID":      {raw(99, nil), plain, "schema 99: the schema registry does not know it"},
	}
	c := newCodec[Payment](t, server, avro.Options{})
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := c.Decode(tc.record)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || errors.Is(err, versioning.ErrInfrastructure) {
					t.Errorf("%+v, %v", got, err)
				}
				if got != (Payment{}) {
					t.Errorf("%+v with an error", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A record that names its schema by GUID, in a header.
func TestGUID(t *testing.T) {
	t.Parallel()
	server := registrytest.New()
	r := written(t, server, full, Payment{ID: "1", Note: "n"})
	guid, err := hex.DecodeString(strings.ReplaceAll(server.GUID("payments-value"), "-", ""))
	if err != nil {
		t.Fatal(err)
	}
	r.Value = r.Value[5:]
	r.Headers = []versioning.Header{{Key: registry.SchemaHeader, Value: append([]byte{1}, guid...)}}
	if got, err := newCodec[Payment](t, server, avro.Options{}).Decode(r); err != nil || got.ID != "1" || got.Note != "n" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestReferences(t *testing.T) {
	t.Parallel()
	type Money struct {
		Amount int64 `avro:"amount"`
	}
	type Invoice struct {
		Total Money `avro:"total"`
	}
	server := registrytest.New()
	server.Add("money", sr.Schema{Schema: `{"type":"record","name":"Money","namespace":"shop","fields":[{"name":"amount","type":"long"}]}`})
	id := server.Add("invoices-value", sr.Schema{
		Schema:     `{"type":"record","name":"Invoice","namespace":"shop","fields":[{"name":"total","type":"shop.Money"}]}`,
		References: []sr.SchemaReference{{Name: "shop.Money", Subject: "money", Version: 1}},
	})
	got, err := newCodec[Invoice](t, server, avro.Options{}).Decode(raw(id, []byte{10}))
	if err != nil || got.Total.Amount != 5 {
		t.Errorf("%+v, %v", got, err)
	}
}

// What is encoded is decoded to the same, and other programs find the schema.
func TestEncode(t *testing.T) {
	t.Parallel()
	server := registrytest.New()
	c := newCodec[Payment](t, server, avro.Options{Namespace: "shop"})
	want := Payment{"1", 5, time.UnixMilli(1_700_000_000_123).UTC(), "n"}
	if _, err := c.Encode("ledger", want); !errors.Is(err, registry.ErrNotRegistered) {
		t.Errorf("before it is registered: %v", err)
	}
	if err := c.Lookup(t.Context(), "ledger"); !errors.Is(err, registry.ErrUnknownSchema) {
		t.Errorf("Lookup: %v", err)
	}
	if err := c.Register(t.Context(), "ledger"); err != nil {
		t.Fatal(err)
	}
	requests := server.Requests()
	encode := codec.Encode(codec.For(c))
	first, err := encode("ledger", &want)
	if err != nil {
		t.Fatal(err)
	}
	second, err := encode("ledger", Payment{ID: "2"})
	if err != nil || string(first) == string(second) {
		t.Fatalf("%x, %x, %v", first, second, err)
	}
	if server.Requests() != requests {
		t.Error("encoding makes requests")
	}
	got, err := newCodec[Payment](t, server, avro.Options{}).Decode(&versioning.Record{Value: first})
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	client, err := sr.NewClient(server.Client()...)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := client.SchemaByVersion(t.Context(), "ledger-value", 1); err != nil || !strings.Contains(s.Schema.Schema, "shop") {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	server := registrytest.New()
	reg := open(t, server)
	if _, err := avro.New[string](reg, avro.Options{}); err == nil {
		t.Error("a string needs no schema")
	}
	if _, err := avro.New[Payment](reg, avro.Options{Schema: full, Name: "x"}); err == nil {
		t.Error("two names")
	}
	if _, err := avro.New[Payment](reg, avro.Options{Schema: `{"type":"nothing"}`}); err == nil {
		t.Error("a bad schema")
	}
	r := written(t, server, fields("Charge", `{"name":"amount","type":"long"}`), map[string]any{"id": "1", "amount": 5, "at": time.Time{}})
	if got, err := newCodec[Payment](t, server, avro.Options{Name: "Charge"}).Decode(r); err != nil || got.Amount != 5 {
		t.Errorf("%+v, %v", got, err)
	}
	type part struct {
		ID string `avro:"id"`
	}
	if got, err := newCodec[part](t, server, avro.Options{Schema: fields("Charge", `{"name":"amount","type":"long"}`)}).Decode(r); err != nil || got.ID != "1" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := newCodec[any](t, server, avro.Options{Schema: fields("Charge", `{"name":"amount","type":"long"}`)}).Decode(r); err != nil || got.(map[string]any)["id"] != "1" {
		t.Errorf("%+v, %v", got, err)
	}
}

// A short value can't claim to have a huge array.
func TestHugeArrays(t *testing.T) {
	type Empty struct{}
	type List struct {
		Items []Empty  `avro:"items"`
		Texts []string `avro:"texts"`
	}
	server := registrytest.New()
	id := server.Add("lists-value", sr.Schema{Schema: `{"type":"record","name":"List","fields":[
		{"name":"items","type":{"type":"array","items":{"type":"record","name":"Empty","fields":[]}}},
		{"name":"texts","type":{"type":"array","items":"string"}}]}`})
	c := newCodec[List](t, server, avro.Options{})
	const huge = "\xfe\xff\xff\xff\xff\xff\xff\xff\x7f" // 2^62 - 1
	for _, value := range []string{huge + "\x00\x00", "\x00" + huge, "\x00\x02" + huge, "\xfe\xff\xff\xff\x0f\x00\x00"} {
		r := raw(id, []byte(value))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got, err := c.Decode(r)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
			t.Errorf("%x: %d items, %v, %d bytes allocated", value, len(got.Items), err, n)
		}
	}
}
