package avro_test

import (
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"github.com/pawl-go/pawl/codec"
	"github.com/pawl-go/pawl/codec/registry/avro"
	"github.com/pawl-go/pawl/codec/registry/registrytest"
	"github.com/pawl-go/pawl/versioning"
)

// An Order is what the benchmark decodes: about what a message of a shop has.
type Order struct {
	ID       string    `avro:"id" json:"id"`
	Customer string    `avro:"customer" json:"customer"`
	Currency string    `avro:"currency" json:"currency"`
	Total    int64     `avro:"total" json:"total"`
	Weight   float64   `avro:"weight" json:"weight"`
	Gift     bool      `avro:"gift" json:"gift"`
	At       time.Time `avro:"at" json:"at"`
	Lines    []Line    `avro:"lines" json:"lines"`
}

type Line struct {
	Article  string `avro:"article" json:"article"`
	Quantity int32  `avro:"quantity" json:"quantity"`
	Price    int64  `avro:"price" json:"price"`
}

func order(i int) Order {
	return Order{
		ID: "order-" + strconv.Itoa(i), Customer: "customer-" + strconv.Itoa(i%1000), Currency: "EUR", Total: int64(i) * 25, Weight: 1.25,
		Gift: i%2 == 0, At: time.UnixMilli(1_700_000_000_000 + int64(i)).UTC(),
		Lines: []Line{{"article-1", 2, 1250}, {"article-2", 1, int64(i)}, {"article-3", 7, 99}},
	}
}

// BenchmarkDecode decodes the same data as JSON, and as Avro that was written with the schema of
// the reader, and with an older one. Compare the rates.
func BenchmarkDecode(b *testing.B) {
	server := registrytest.New()
	c := newCodec[Order](b, server, avro.Options{})
	if err := c.Register(b.Context(), "orders"); err != nil {
		b.Fatal(err)
	}
	const older = `{"type":"record","name":"Order","fields":[{"name":"id","type":"string"},{"name":"customer","type":"string"},
		{"name":"currency","type":"string"},{"name":"total","type":"int"},{"name":"weight","type":"float"},{"name":"gift","type":"boolean"},
		{"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"channel","type":"string"},
		{"name":"lines","type":{"type":"array","items":{"type":"record","name":"Line","fields":[{"name":"article","type":"string"},
		{"name":"quantity","type":"int"},{"name":"price","type":"int"}]}}}]}`
	type Older struct {
		Order

		Channel string `avro:"channel"`
	}
	const n = 1000
	inJSON, inAvro, inOlder := make([]*versioning.Record, n), make([]*versioning.Record, n), make([]*versioning.Record, n)
	for i := range n {
		text, err := json.Marshal(order(i))
		if err != nil {
			b.Fatal(err)
		}
		inJSON[i] = &versioning.Record{Value: text}
		data, err := c.Encode("orders", order(i))
		if err != nil {
			b.Fatal(err)
		}
		inAvro[i] = &versioning.Record{Value: data}
		inOlder[i] = written(b, server, older, &Older{order(i), "web"})
	}
	for _, of := range []struct {
		name    string
		codec   codec.Codec[Order]
		records []*versioning.Record
	}{{"json", codec.JSON[Order](), inJSON}, {"avro", c, inAvro}, {"avro-older-writer", c, inOlder}} {
		b.Run(of.name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				got, err := of.codec.Decode(of.records[i%n])
				if err != nil || got.Total != int64(i%n)*25 || len(got.Lines) != 3 {
					b.Fatal(got, err)
				}
				i++
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
