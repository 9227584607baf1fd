package postgres

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5/pgtype"
	"pgregory.net/rapid"
)

// Columns arrive as they are, in both formats, and on connections that were not prepared
// for them too.
func TestColumnsArriveAsTheyAre(t *testing.T) {
	t.Parallel()
	plain, prepared := pgtype.NewMap(), pgtype.NewMap()
	sendColumns(prepared, new(room))
	maps := map[string]*pgtype.Map{"plain": plain, "prepared": prepared}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[^\x00]{0,40}`)
		column := map[uint32]any{ // what pgx itself makes of the same elements
			pgtype.TextArrayOID: texts(rapid.SliceOf(text).Draw(t, "texts")),
			pgtype.Int8ArrayOID: bigints(rapid.SliceOf(rapid.Int64()).Draw(t, "bigints")),
			pgtype.Int4ArrayOID: integers(rapid.SliceOf(rapid.Int32()).Draw(t, "integers")),
			pgtype.BoolArrayOID: booleans(rapid.SliceOf(rapid.Bool()).Draw(t, "booleans")),

			pgtype.TimestamptzArrayOID: times(rapid.SliceOf(rapid.Map(rapid.Int64Range(-62135596800_000_000, 253402300799_999_999), func(micro int64) time.Time {
				return time.UnixMicro(micro).UTC()
			})).Draw(t, "times")),
		}
		for name, m := range maps {
			for _, format := range []int16{pgtype.BinaryFormatCode, pgtype.TextFormatCode} {
				for oid, c := range column {
					switch want := c.(type) {
					case texts:
						sameColumn(t, name, m, plain, oid, format, c, []string(want))
					case bigints:
						sameColumn(t, name, m, plain, oid, format, c, []int64(want))
					case integers:
						sameColumn(t, name, m, plain, oid, format, c, []int32(want))
					case booleans:
						sameColumn(t, name, m, plain, oid, format, c, []bool(want))
					case times:
						sameColumn(t, name, m, plain, oid, format, c, []time.Time(want))
					}
				}
				some := rapid.SliceOf(rapid.Custom(func(t *rapid.T) pgtype.Text {
					if rapid.Bool().Draw(t, "null") {
						return pgtype.Text{}
					}
					return pgtype.Text{String: text.Draw(t, "text"), Valid: true}
				})).Draw(t, "texts or NULL")
				sameColumn(t, name, m, plain, pgtype.TextArrayOID, format, nullTexts(some), some)
			}
		}
	})
}

// sameColumn encodes a column with one map and scans it with another.
func sameColumn[T any](t *rapid.T, name string, by, reader *pgtype.Map, oid uint32, format int16, column any, want []T) {
	t.Helper()
	encoded, err := by.Encode(oid, format, column, nil)
	if err != nil {
		t.Fatalf("%s: encode a %T: %v", name, column, err)
	}
	var got []T
	if err := reader.Scan(oid, format, encoded, &got); err != nil {
		t.Fatalf("%s: scan a %T: %v", name, column, err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s: a %T in format %d (-want +got):\n%s", name, column, format, diff)
	}
}

// A connection returns to the pool as it was.
func TestColumnsAreRestored(t *testing.T) {
	t.Parallel()
	m := pgtype.NewMap()
	sendColumns(m, new(room))()
	for _, oid := range []uint32{pgtype.TextArrayOID, pgtype.Int8ArrayOID, pgtype.Int4ArrayOID, pgtype.BoolArrayOID} {
		if typ, ok := m.TypeForOID(oid); !ok {
			t.Errorf("type %d is gone", oid)
		} else if _, ok := typ.Codec.(*pgtype.ArrayCodec); !ok {
			t.Errorf("%s has a %T", typ.Name, typ.Codec)
		}
	}
}

// Encoding a column into a buffer with room does not allocate.
func TestColumnsDoNotAllocate(t *testing.T) {
	m := pgtype.NewMap()
	sendColumns(m, new(room))
	column := any(texts{"a text that is longer than thirty-two bytes", "b"})
	buf := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := m.Encode(pgtype.TextArrayOID, pgtype.BinaryFormatCode, column, buf); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
