package avro_test

import (
	"context"
	"fmt"

	"github.com/pawl-go/pawl/codec"
	"github.com/pawl-go/pawl/codec/registry"
	"github.com/pawl-go/pawl/codec/registry/avro"
	"github.com/pawl-go/pawl/codec/registry/registrytest"
	"github.com/pawl-go/pawl/versioning"
)

// A worker that reads payments and emits ledger entries, both in Avro.
func ExampleNew() {
	type payment struct {
		ID     string `avro:"id"`
		Amount int64  `avro:"amount"`
	}
	type ledgerEntry struct {
		Payment string `avro:"payment"`
		Amount  int64  `avro:"amount"`
	}
	server := registrytest.New() // in a program: sr.URLs("https://registry:8081")
	reg, err := registry.New(registry.Config{Client: server.Client()})
	if err != nil {
		fmt.Println(err)
		return
	}
	payments, err := avro.New[payment](reg, avro.Options{Name: "Payment", Namespace: "shop"})
	if err != nil {
		fmt.Println(err)
		return
	}
	ledger, err := avro.New[ledgerEntry](reg, avro.Options{Name: "LedgerEntry", Namespace: "shop"})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := ledger.Register(context.Background(), "ledger"); err != nil { // at start
		fmt.Println(err)
		return
	}
	// consumer.Config.Decode and postgres.Table.Encode:
	decode := codec.Decode(payments, func(p payment, _ *versioning.Record) ([]versioning.Change, error) {
		return []versioning.Change{{Key: p.ID, Event: "payment.captured", Data: p}}, nil
	})
	encode := codec.Encode(codec.For(ledger))

	r := versioning.Record{Value: sent(payments, payment{"42", 1250})}
	r.Decode(decode)
	fmt.Printf("%s %s %+v %v\n", r.Changes[0].Key, r.Changes[0].Event, r.Changes[0].Data, r.Err)
	data, err := encode("ledger", ledgerEntry{"42", 1250})
	fmt.Printf("%q %v\n", data, err)
	// Output:
	// 42 payment.captured {ID:42 Amount:1250} <nil>
	// "\x00\x00\x00\x00\x01\x0442\xc4\x13" <nil>
}

// sent returns what a producer would send.
func sent[T any](c *avro.Codec[T], value T) []byte {
	if err := c.Register(context.Background(), "payments"); err != nil {
		fmt.Println(err)
	}
	data, err := c.Encode("payments", value)
	if err != nil {
		fmt.Println(err)
	}
	return data
}

// A schema that got a field: records that were written before have its default.
func ExampleCodec_Decode() {
	type before struct {
		ID string `avro:"id"`
	}
	type after struct {
		ID       string `avro:"id"`
		Currency string `avro:"currency,default=EUR"`
	}
	server := registrytest.New()
	reg, err := registry.New(registry.Config{Client: server.Client()})
	if err != nil {
		fmt.Println(err)
		return
	}
	writer, err := avro.New[before](reg, avro.Options{Name: "Payment"})
	if err != nil {
		fmt.Println(err)
		return
	}
	reader, err := avro.New[after](reg, avro.Options{Name: "Payment"})
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := reader.Decode(&versioning.Record{Value: sent(writer, before{"42"})})
	fmt.Printf("%+v %v\n", p, err)
	// Output: {ID:42 Currency:EUR} <nil>
}

// A program that may not write to the registry looks up what somebody else has registered.
func ExampleCodec_Lookup() {
	type payment struct {
		ID string `avro:"id"`
	}
	server := registrytest.New()
	reg, err := registry.New(registry.Config{Client: server.Client()})
	if err != nil {
		fmt.Println(err)
		return
	}
	payments, err := avro.New[payment](reg, avro.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(payments.Lookup(context.Background(), "payments"))
	_, err = payments.Encode("payments", payment{"42"})
	fmt.Println(err)
	// Output:
	// schema of payment for topic "payments", subject "payments-value": the schema registry does not know it
	// encode Avro: topic "payments", payment: the schema is not registered for the topic; call Register or Lookup with it at start
}
