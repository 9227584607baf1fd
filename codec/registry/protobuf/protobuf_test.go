package protobuf_test

import (
	_ "embed"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/sr"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/pawl-go/pawl/codec"
	"github.com/pawl-go/pawl/codec/registry"
	"github.com/pawl-go/pawl/codec/registry/protobuf"
	"github.com/pawl-go/pawl/codec/registry/protobuf/internal/paymentpb"
	"github.com/pawl-go/pawl/codec/registry/registrytest"
	"github.com/pawl-go/pawl/versioning"
)

var (
	_ codec.Codec[*paymentpb.Payment] = (*protobuf.Codec[*paymentpb.Payment])(nil)

	//go:embed internal/paymentpb/payment.proto
	source string
)

func newCodec[T proto.Message](t testing.TB, server *registrytest.Registry, opts protobuf.Options) *protobuf.Codec[T] {
	t.Helper()
	reg, err := registry.New(registry.Config{Client: server.Client()})
	if err != nil {
		t.Fatal(err)
	}
	c, err := protobuf.New[T](reg, opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// written returns a record with a message. index is what follows the schema's ID.
func written(t testing.TB, id int, index string, m proto.Message) *versioning.Record {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	prefix := []byte{0, byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)}
	return &versioning.Record{Value: append(append(prefix, index...), data...)}
}

var want = &paymentpb.Payment{Id: "1", Amount: 5}

func TestDecode(t *testing.T) {
	t.Parallel()
	server := registrytest.New()
	add := func(text string) int {
		return server.Add("payments-value", sr.Schema{Schema: text, Type: sr.TypeProtobuf})
	}
	id := add(source)
	moved := add(`syntax = "proto3"; package shop; import "shop/money.proto"; /* new */ message Payment { string id = 1; Money amount = 2; }`)
	bare := add(`syntax = "proto3"; message Payment { string id = 1; }`)
	avro := server.Add("avro-value", sr.Schema{Schema: `"string"`})
	broken := add(`message {`)
	refund := &paymentpb.Payment_Refund{Id: "1"}
	cases := map[string]struct {
		record *versioning.Record
		err    string
	}{
		"good":                    {written(t, id, "\x02\x02", want), ""},
		"another file":            {written(t, moved, "\x00", want), ""},
		"another message":         {written(t, id, "\x00", want), "is a shop.Customer, not a shop.Payment"},
		"a nested message":        {written(t, id, "\x04\x02\x00", refund), "is a shop.Payment.Refund, not"},
		"another package":         {written(t, bare, "\x00", want), "is a Payment, not a shop.Payment"},
		"no such message":         {written(t, id, "\x02\x06", want), "no message with the value's message index"},
		"no index":                {written(t, id, "\xff", &paymentpb.Payment{}), "no valid message index"},
		"not a message":           {&versioning.Record{Value: []byte{0, 0, 0, 0, byte(id), 2, 2, 0xff}}, "shop.Payment"},
		"Avro":                    {written(t, avro, "\x00", want), "of type AVRO"},
		"a schema that is broken": {written(t, broken, "\x00", want), "parse"},
		"unknown":                 {written(t, 99, "\x00", want), "does not know it"},
		"tombstone":               {&versioning.Record{}, "tombstone"},
	}
	c := newCodec[*paymentpb.Payment](t, server, protobuf.Options{})
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := c.Decode(tc.record)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || errors.Is(err, versioning.ErrInfrastructure) || got != nil {
					t.Errorf("%v, %v", got, err)
				}
				return
			}
			if diff := cmp.Diff(want, got, protocmp.Transform()); err != nil || diff != "" {
				t.Error(err, diff)
			}
		})
	}
}

func TestTrouble(t *testing.T) {
	t.Parallel()
	server := registrytest.New()
	server.Fail(registrytest.Down)
	c := newCodec[*paymentpb.Payment](t, server, protobuf.Options{})
	if _, err := c.Decode(written(t, 98, "\x00", want)); !errors.Is(err, versioning.ErrInfrastructure) {
		t.Errorf("while the registry is down: %v", err)
	}
}

// A record that names its schema by GUID has the message index in the header too.
func TestGUID(t *testing.T) {
	t.Parallel()
	server := registrytest.New()
	server.Add("payments-value", sr.Schema{Schema: source, Type: sr.TypeProtobuf})
	guid, err := hex.DecodeString(strings.ReplaceAll(server.GUID("payments-value"), "-", ""))
	if err != nil {
		t.Fatal(err)
	}
	data, err := proto.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	name := append(append([]byte{1}, guid...), 2, 2)
	r := &versioning.Record{Value: data, Headers: []versioning.Header{{Key: registry.SchemaHeader, Value: name}}}
	got, err := newCodec[*paymentpb.Payment](t, server, protobuf.Options{}).Decode(r)
	if diff := cmp.Diff(want, got, protocmp.Transform()); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

// What is encoded is decoded to the same, whether the source or the descriptor was registered.
func TestEncode(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]protobuf.Options{"descriptor": {}, "source": {Schema: source}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := registrytest.New()
			payments := newCodec[*paymentpb.Payment](t, server, opts)
			refunds := newCodec[*paymentpb.Payment_Refund](t, server, opts)
			if _, err := payments.Encode("ledger", want); !errors.Is(err, registry.ErrNotRegistered) {
				t.Errorf("before it is registered: %v", err)
			}
			if err := errors.Join(payments.Register(t.Context(), "ledger"), refunds.Lookup(t.Context(), "ledger")); err != nil {
				t.Fatal(err)
			}
			encode := codec.Encode(codec.For(payments), codec.For(refunds))
			data, err := encode("ledger", want)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(string(data[5:]), "\x02\x02") {
				t.Errorf("message index of %x", data)
			}
			got, err := newCodec[*paymentpb.Payment](t, server, protobuf.Options{}).Decode(&versioning.Record{Value: data})
			if diff := cmp.Diff(want, got, protocmp.Transform()); err != nil || diff != "" {
				t.Error(err, diff)
			}
			refund := &paymentpb.Payment_Refund{Id: "1", Amount: 7}
			data, err = encode("ledger", refund)
			if err != nil || !strings.HasPrefix(string(data[5:]), "\x04\x02\x00") {
				t.Fatalf("%x, %v", data, err)
			}
			if again, err := refunds.Decode(&versioning.Record{Value: data}); err != nil || !proto.Equal(refund, again) {
				t.Errorf("%v, %v", again, err)
			}
		})
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	reg, err := registry.New(registry.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := protobuf.New[proto.Message](reg, protobuf.Options{}); err == nil {
		t.Error("an interface is accepted")
	}
	if _, err := protobuf.New[*dynamicpb.Message](reg, protobuf.Options{}); err == nil {
		t.Error("a dynamic message is accepted")
	}
	if _, err := protobuf.New[*timestamppb.Timestamp](reg, protobuf.Options{}); err != nil {
		t.Error(err)
	}
}

// No bytes make the decoder panic.
func FuzzDecode(f *testing.F) {
	server := registrytest.New()
	id := server.Add("payments-value", sr.Schema{Schema: source, Type: sr.TypeProtobuf})
	f.Add(written(f, id, "\x02\x02", want).Value)
	f.Add(written(f, id, "\x04\x02\x00", want).Value)
	c := newCodec[*paymentpb.Payment](f, server, protobuf.Options{})
	f.Fuzz(func(t *testing.T, value []byte) {
		if p, err := c.Decode(&versioning.Record{Value: value}); (p == nil) != (err != nil) {
			t.Fatalf("%v, %v", p, err)
		}
	})
}
