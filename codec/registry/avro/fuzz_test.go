package avro_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/pawl-go/pawl/codec/registry/avro"
	"github.com/pawl-go/pawl/codec/registry/registrytest"
	"github.com/pawl-go/pawl/versioning"
)

// No bytes make the decoder panic, and what it decodes can be encoded.
func FuzzDecode(f *testing.F) {
	server := registrytest.New()
	f.Add(written(f, server, full, Payment{"1", 5, time.UnixMilli(1), "n"}).Value)
	f.Add(written(f, server, fields("Payment", `{"name":"amount","type":"int"}`), map[string]any{"id": "1", "amount": 5, "at": time.Time{}}).Value)
	server.Add("ledger-value", sr.Schema{Schema: full})
	c := newCodec[Payment](f, server, avro.Options{})
	if err := c.Register(f.Context(), "ledger"); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		p, err := c.Decode(&versioning.Record{Value: value})
		if err != nil {
			return
		}
		data, err := c.Encode("ledger", p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := c.Decode(&versioning.Record{Value: data})
		if err != nil || again.ID != p.ID || again.Amount != p.Amount || again.Note != p.Note || !again.At.Equal(p.At) {
			t.Fatalf("%+v, then %+v, %v", p, again, err)
		}
	})
}
