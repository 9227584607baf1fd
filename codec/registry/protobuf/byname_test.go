package protobuf_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/pawl-go/pawl/codec"
	"github.com/pawl-go/pawl/codec/registry"
	"github.com/pawl-go/pawl/codec/registry/protobuf"
	"github.com/pawl-go/pawl/codec/registry/protobuf/internal/paymentpb"
	"github.com/pawl-go/pawl/codec/registry/registrytest"
	"github.com/pawl-go/pawl/versioning"
)

// A topic with several messages of one file.
func ExampleByName() {
	server := registrytest.New()
	id := server.Add("payments-value", sr.Schema{Schema: source, Type: sr.TypeProtobuf})
	reg, err := registry.New(registry.Config{Client: server.Client()})
	if err != nil {
		fmt.Println(err)
		return
	}
	payments, err := protobuf.New[*paymentpb.Payment](reg, protobuf.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	refunds, err := protobuf.New[*paymentpb.Payment_Refund](reg, protobuf.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	decode := protobuf.ByName(reg, map[string]func(*versioning.Record) ([]versioning.Change, error){
		"shop.Payment": codec.Decode(payments, func(p *paymentpb.Payment, _ *versioning.Record) ([]versioning.Change, error) {
			return []versioning.Change{{Key: p.GetId(), Event: "payment.captured"}}, nil
		}),
		"shop.Payment.Refund": codec.Decode(refunds, func(p *paymentpb.Payment_Refund, _ *versioning.Record) ([]versioning.Change, error) {
			return []versioning.Change{{Key: p.GetId(), Event: "payment.refunded"}}, nil
		}),
	})
	for _, value := range []string{"\x02\x02\n\x0242", "\x04\x02\x00\n\x0242", "\x00\n\x0242"} { // index and message
		r := versioning.Record{Value: append([]byte{0, 0, 0, 0, byte(id)}, value...)}
		r.Decode(decode)
		if r.Err != nil {
			fmt.Println(r.Err)
			continue
		}
		fmt.Println(r.Changes[0].Key, r.Changes[0].Event)
	}
	// Output:
	// 42 payment.captured
	// 42 payment.refunded
	// unknown_event: the value is a "shop.Customer", which nothing decodes
}

func TestByNameErrors(t *testing.T) {
	t.Parallel()
	server := registrytest.New()
	id := server.Add("payments-value", sr.Schema{Schema: source, Type: sr.TypeProtobuf})
	reg, err := registry.New(registry.Config{Client: server.Client()})
	if err != nil {
		t.Fatal(err)
	}
	decode := protobuf.ByName(reg, nil)
	r := written(t, id, "\x02\x06", want)
	if r.Decode(decode); r.Err == nil || r.Trouble() != nil {
		t.Errorf("no such message: %v", r.Err)
	}
	r = written(t, 99, "\x00", want)
	if r.Decode(decode); !errors.Is(r.Err, registry.ErrUnknownSchema) {
		t.Errorf("unknown schema: %v", r.Err)
	}
	server.Fail(registrytest.Down)
	r = written(t, 98, "\x00", want)
	if r.Decode(decode); r.Trouble() == nil {
		t.Errorf("down: %v", r.Err)
	}
}

func TestNilIsNotEncoded(t *testing.T) {
	t.Parallel()
	server := registrytest.New()
	c := newCodec[*paymentpb.Payment](t, server, protobuf.Options{})
	if err := c.Register(t.Context(), "ledger"); err != nil {
		t.Fatal(err)
	}
	if data, err := c.Encode("ledger", nil); err == nil {
		t.Errorf("encoded as %x", data)
	}
}
