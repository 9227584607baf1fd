package postgres

import (
	"encoding/binary"
	"reflect"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pawl-go/pawl/versioning"
)

// BenchmarkRowType measures what the store does for the functions of two steps of an
// entity, apart from calling them: it takes the row from an answer of PostgreSQL, loads it,
// stores it, and does the latter two again.
func BenchmarkRowType(b *testing.B) {
	type payment struct {
		Amount   int64 `db:"amount"`
		Captured int64 `db:"captured"`
		Refunded int64 `db:"refunded"`
	}
	t := &rowType{row: reflect.TypeFor[payment](), flat: true}
	t.maps.New = func() any { return pgtype.NewMap() }
	fields, err := versioning.RowFields(t.row)
	if err != nil {
		b.Fatal(err)
	}
	raw, described := [][]byte{[]byte("123456")}, []pgconn.FieldDescription{{}}
	for i, f := range fields {
		column := &tableColumn{name: f.Column, base: pgtype.Int8OID, notNull: true}
		t.fields = append(t.fields, rowField{RowField: f, column: column, at: 3 + i, common: isCommon(f.Type, column), comparable: true})
		raw = append(raw, binary.BigEndian.AppendUint64(nil, uint64(1000*i)))
		described = append(described, pgconn.FieldDescription{Format: pgtype.BinaryFormatCode})
	}
	b.ReportAllocs()
	for b.Loop() {
		var data any = t.read(raw, described)
		for range 2 {
			row, err := t.Load(data)
			if err != nil {
				b.Fatal(err)
			}
			row.(*payment).Captured += 10
			if data, err = t.Store(data, row); err != nil {
				b.Fatal(err)
			}
		}
		if changed := data.(*rowData).changed; len(changed) != 1 || changed[0].text != "1020" {
			b.Fatalf("changed %v", changed)
		}
	}
}
