package postgres

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
)

// numericOf returns the modifier of the type numeric(precision, scale).
func numericOf(precision, scale int) int { return precision<<16 | scale + 4 }

// TestTakes checks at the borders which values count as certain to fit. A wrong yes would
// let a value go unnoticed that PostgreSQL refuses.
func TestTakes(t *testing.T) {
	t.Parallel()
	text := tableColumn{base: pgtype.TextOID, modifier: -1}
	notNull := text
	notNull.notNull = true
	integer := tableColumn{base: pgtype.Int2OID, modifier: -1}
	varchar := tableColumn{base: pgtype.VarcharOID, maxLength: 2, modifier: 6}
	numeric := tableColumn{base: pgtype.NumericOID, modifier: numericOf(4, 2)}
	jsonb := tableColumn{base: pgtype.JSONBOID, modifier: -1}
	enum := tableColumn{base: 16384, labels: []string{"low", "high"}, modifier: -1}
	domain := text
	domain.domain = true
	tests := []struct {
		name    string
		column  tableColumn
		indexed bool
		text    string
		null    bool
		want    bool
	}{
		{name: "NULL", column: text, null: true, want: true},
		{name: "NULL in a column that is NOT NULL", column: notNull, null: true},
		{name: "text", column: notNull, text: strings.Repeat("x", maxIndexedBytes+1), want: true},
		{name: "text that an index holds", column: text, indexed: true, text: strings.Repeat("x", maxIndexedBytes), want: true},
		{name: "text that an index may not hold", column: text, indexed: true, text: strings.Repeat("x", maxIndexedBytes+1)},
		{name: "the largest smallint", column: integer, text: "32767", want: true},
		{name: "no smallint", column: integer, text: "32768"},
		{name: "varchar of the full length", column: varchar, text: "äö", want: true},
		{name: "varchar that is too long", column: varchar, text: "äöü"},
		{name: "numeric", column: numeric, text: "9.999", want: true},
		{name: "numeric that rounding may carry over", column: numeric, text: "99.999"},
		{name: "numeric that is too large", column: numeric, text: "100"},
		{name: "no number", column: numeric, text: "1e3"},
		{name: "json", column: jsonb, text: `{"a": 1}`, want: true},
		{name: "json with an escape", column: jsonb, text: `"\u0000"`},
		{name: "json with a huge number", column: jsonb, text: `1e9999999`},
		{name: "a label", column: enum, text: "low", want: true},
		{name: "no label", column: enum, text: "middle"},
		{name: "a domain", column: domain, text: "x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			table := &table{columns: []tableColumn{tt.column}}
			table.rules.indexed = []bool{tt.indexed}
			if got := table.takes(column{text: tt.text, null: tt.null}); got != tt.want {
				t.Errorf("takes(%.40q) = %t, want %t", tt.text, got, tt.want)
			}
		})
	}
}
