package avro_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/pawl-go/pawl/codec"
	"github.com/pawl-go/pawl/codec/registry"
	"github.com/pawl-go/pawl/codec/registry/avro"
	"github.com/pawl-go/pawl/codec/registry/registrytest"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// change makes a decode function that asks for an event.
func change(c codec.Codec[map[string]any], event statemachine.Event) func(*versioning.Record) ([]versioning.Change, error) {
	return codec.Decode(c, func(v map[string]any, _ *versioning.Record) ([]versioning.Change, error) {
		return []versioning.Change{{Key: v["id"].(string), Event: event}}, nil
	})
}

func TestByName(t *testing.T) {
	t.Parallel()
	server := registrytest.New()
	const charge, refund = `{"type":"record","name":"Charge","namespace":"shop","fields":[{"name":"id","type":"string"}]}`,
		`{"type":"record","name":"Refund","fields":[{"name":"id","type":"string"}]}`
	decode := avro.ByName(open(t, server), map[string]func(*versioning.Record) ([]versioning.Change, error){
		"shop.Charge": change(newCodec[map[string]any](t, server, avro.Options{Schema: charge}), "charged"),
		"Refund":      change(newCodec[map[string]any](t, server, avro.Options{Schema: refund}), "refunded"),
	})
	id := map[string]any{"id": "1"}
	for event, r := range map[statemachine.Event]*versioning.Record{"charged": written(t, server, charge, id), "refunded": written(t, server, refund, id)} {
		if r.Decode(decode); r.Err != nil || r.Changes[0].Event != event || r.Changes[0].Key != "1" {
			t.Errorf("%+v, %v", r.Changes, r.Err)
		}
	}
	r := written(t, server, `"string"`, "x")
	r.Decode(decode)
	if refusal, ok := errors.AsType[*versioning.Refusal](r.Err); !ok || refusal.Reason != versioning.ReasonUnknownEvent {
		t.Errorf("%v", r.Err)
	}
	r = raw(99, nil)
	if r.Decode(decode); !errors.Is(r.Err, registry.ErrUnknownSchema) {
		t.Errorf("%v", r.Err)
	}
	server.Fail(registrytest.Down)
	r = raw(98, nil)
	if r.Decode(decode); r.Trouble() == nil {
		t.Errorf("%v", r.Err)
	}
}

// A topic with several types of records.
func ExampleByName() {
	type charge struct {
		ID string `avro:"id"`
	}
	type refund struct {
		ID string `avro:"id"`
	}
	reg, err := registry.New(registry.Config{Client: registrytest.New().Client()})
	if err != nil {
		fmt.Println(err)
		return
	}
	charges, err := avro.New[charge](reg, avro.Options{Name: "Charge", Namespace: "shop"})
	if err != nil {
		fmt.Println(err)
		return
	}
	refunds, err := avro.New[refund](reg, avro.Options{Name: "Refund", Namespace: "shop"})
	if err != nil {
		fmt.Println(err)
		return
	}
	decode := avro.ByName(reg, map[string]func(*versioning.Record) ([]versioning.Change, error){
		"shop.Charge": codec.Decode(charges, func(c charge, _ *versioning.Record) ([]versioning.Change, error) {
			return []versioning.Change{{Key: c.ID, Event: "payment.charged"}}, nil
		}),
		"shop.Refund": codec.Decode(refunds, func(c refund, _ *versioning.Record) ([]versioning.Change, error) {
			return []versioning.Change{{Key: c.ID, Event: "payment.refunded"}}, nil
		}),
	})
	for _, value := range [][]byte{sent(charges, charge{"42"}), sent(refunds, refund{"42"})} {
		r := versioning.Record{Value: value}
		r.Decode(decode)
		fmt.Println(r.Changes[0].Key, r.Changes[0].Event)
	}
	// Output:
	// 42 payment.charged
	// 42 payment.refunded
}
