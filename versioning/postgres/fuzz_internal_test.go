package postgres

import (
	"bytes"
	"encoding/json"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// FuzzCanonicalKey checks that keys have one spelling: a canonical key is its own
// canonical key, and two spellings of one value have the same.
func FuzzCanonicalKey(f *testing.F) {
	for _, key := range []string{
		"", "a", "A", "é", "42", "+42", "-0", "007", "9223372036854775808", "-9223372036854775808", "32768", "1_000", "0x10", " 1",
		"f47ac10b-58cc-4372-a567-0e02b2c3d479", "F47AC10B58CC4372A5670E02B2C3D479", "{f47a-c10b-58cc-4372-a567-0e02-b2c3-d479}", "f47ac10b-58cc",
	} {
		f.Add(key, key)
	}
	f.Add("f47ac10b-58cc-4372-a567-0e02b2c3d479", "{F47AC10B58CC4372A5670E02B2C3D479}")
	f.Add("7", "+007")
	tables := make(map[string]*table)
	for name, c := range map[string]tableColumn{
		"text": {base: pgtype.TextOID}, "varchar(3)": {base: pgtype.VarcharOID, maxLength: 3}, "uuid": {base: pgtype.UUIDOID},
		"bigint": {base: pgtype.Int8OID}, "integer": {base: pgtype.Int4OID}, "smallint": {base: pgtype.Int2OID},
	} {
		c.name, c.typeName = "id", name
		tables[name] = &table{key: &c}
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		for name, table := range tables {
			first, err := table.canonicalKey(a)
			if err != nil {
				continue
			}
			if again, err := table.canonicalKey(first); err != nil || again != first {
				t.Errorf("%s: the canonical key of %q is %q, and that of %[3]q is %q, %v", name, a, first, again, err)
			}
			other, err := table.canonicalKey(b)
			if err == nil && (first == other) != sameKey(table.key, a, b) {
				t.Errorf("%s: %q and %q have the canonical keys %q and %q", name, a, b, first, other)
			}
		}
	})
}

// sameKey reports whether PostgreSQL accepts two keys and reads them as one value.
func sameKey(c *tableColumn, a, b string) bool {
	switch {
	case c.isInteger():
		x, _ := new(big.Int).SetString(a, 10)
		y, _ := new(big.Int).SetString(b, 10)
		return x != nil && y != nil && x.Cmp(y) == 0
	case c.base == pgtype.UUIDOID:
		digits := strings.NewReplacer("{", "", "}", "", "-", "")
		return strings.EqualFold(digits.Replace(a), digits.Replace(b))
	}
	return a == b
}

// FuzzHeaders checks that jsonb returns headers unchanged, whatever their bytes.
func FuzzHeaders(f *testing.F) {
	f.Add("ce_id", []byte("1"), "", []byte(nil), true)
	f.Add("\xff", []byte("\xff\x00"), "a\x00b", []byte{}, false)
	f.Add("\u2028<&>", []byte(`"\u0000"`), `\u0000`, []byte("x"), false)
	f.Fuzz(func(t *testing.T, key string, value []byte, otherKey string, otherValue []byte, isNull bool) {
		if isNull {
			otherValue = nil
		}
		headers := []versioning.Header{{Key: key, Value: value}, {Key: otherKey, Value: otherValue}, {Key: key, Value: otherValue}}
		got, err := decodeHeaders(asJSONB(t, encodeHeaders(headers)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(headers, got); diff != "" {
			t.Errorf("(-stored +read):\n%s", diff)
		}
	})
}

// FuzzChanges checks that jsonb returns the changes of a record that can be parked
// unchanged, with the same columns and digests.
func FuzzChanges(f *testing.F) {
	f.Add("a", "placed", "m", "f", int64(-1), "note", "x", 5.5)
	f.Add("é\u2028", "no\"such", " ", "", int64(1<<62), "id", `\u0000`, 1e300)
	f.Add("\xff", "\xff", "\x00", "\xff", int64(0), "nosuch", "\xff", math.Copysign(0, -1))
	s := snapshotOfOrders()
	f.Fuzz(func(t *testing.T, key, event, id, former string, expected int64, name, text string, amount float64) {
		r := &versioning.Record{Origin: versioning.Origin{Topic: "orders", Offset: 7}}
		r.Changes = []versioning.Change{
			{Key: key, Event: statemachine.Event(event), MessageID: id, FormerID: former},
			{Machine: "order", Key: key, Event: "placed", Set: versioning.Columns{name: text, "amount": amount, "paid": nil}},
		}
		if expected >= 0 {
			r.Changes[0].Expected = versioning.At(expected)
		}
		s.ready(r)
		if r.Err != nil || r.Unfit != nil || !versioning.StorableText(event) {
			t.Skip("is a dead letter, and not parked; so is a record with an event that no machine can have")
		}
		got := &versioning.Record{Origin: r.Origin}
		if err := s.decodeChanges(got, asJSONB(t, s.encodeChanges(r))); err != nil || got.Err != nil || got.Unfit != nil {
			t.Fatal(err, got.Err, got.Unfit)
		}
		if diff := cmp.Diff(r.Changes, got.Changes, cmp.AllowUnexported(versioning.Expected{}),
			cmpopts.IgnoreFields(versioning.Change{}, "Set")); diff != "" {
			t.Errorf("(-stored +read):\n%s", diff)
		}
		for i := range r.Changes {
			if diff := cmp.Diff(setOf(r, i), setOf(got, i), cmp.AllowUnexported(column{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("columns of change %d (-stored +read):\n%s", i, diff)
			}
			if r.Digest(i) != got.Digest(i) {
				t.Errorf("change %d has digest %d, and had %d", i, got.Digest(i), r.Digest(i))
			}
		}
	})
}

// snapshotOfOrders returns what a store knows after it has read a table orders.
func snapshotOfOrders() *snapshot {
	machine := statemachine.MustCompile(statemachine.Definition{
		Name: "order", Version: 1, Transitions: []statemachine.Transition{{Event: "placed", To: "pending"}},
		Terminal: statemachine.In("pending"),
	})
	t := &table{Table: Table{Machine: machine, Name: "orders"}.withDefaults(), byName: make(map[string]int)}
	t.columns = []tableColumn{
		{name: "amount", typeName: "double precision", base: pgtype.Float8OID},
		{name: "id", typeName: "text", base: pgtype.TextOID},
		{name: "note", typeName: "text", base: pgtype.TextOID},
		{name: "paid", typeName: "boolean", base: pgtype.BoolOID},
	}
	for i := range t.columns {
		t.byName[t.columns[i].name] = i
	}
	t.key = &t.columns[t.byName["id"]]
	s := &snapshot{
		tables:    []*table{t},
		byMachine: map[string]*table{"order": t},
		rules:     map[string]versioning.Rules{"order": {Machine: machine}},
		types:     &types{typ: pgtype.NewMap()},
	}
	s.plain, s.plainSplit = &prepared{by: s}, &prepared{by: s, split: true}
	return s
}

// asJSONB fails the test if jsonb would not accept a document, because it contains a NUL.
// It returns the document with other white space and another order of names.
func asJSONB(t *testing.T, document string) []byte {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(document))
	decoder.UseNumber() // jsonb keeps all digits
	var value any
	if err := decoder.Decode(&value); err != nil {
		t.Fatal(err)
	}
	wantNoNUL(t, value)
	var again bytes.Buffer
	encoder := json.NewEncoder(&again)
	encoder.SetIndent(" ", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		t.Fatal(err)
	}
	return again.Bytes()
}

func wantNoNUL(t *testing.T, value any) {
	t.Helper()
	switch v := value.(type) {
	case string:
		if strings.ContainsRune(v, 0) {
			t.Errorf("jsonb does not accept %q", v)
		}
	case []any:
		for _, element := range v {
			wantNoNUL(t, element)
		}
	case map[string]any:
		for name, element := range v {
			wantNoNUL(t, name)
			wantNoNUL(t, element)
		}
	}
}
