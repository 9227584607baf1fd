package postgres

import (
	"database/sql/driver"
	"encoding/binary"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// Statements take their parameters as columns: arrays. pgx encodes an array element by
// element, each through an interface and a buffer. That takes most of the time of sending a
// batch, so the types of this file append their elements to the message themselves. They
// can do that only on connections that were prepared with sendColumns. On others, and
// with statements whose types pgx does not know, pgx encodes what Value returns.

// texts is a column of text.
type texts []string

// bigints is a column of bigint.
type bigints []int64

// integers is a column of integer.
type integers []int32

// booleans is a column of boolean.
type booleans []bool

// times is a column of timestamptz. PostgreSQL stores microseconds; what is below is cut off.
type times []time.Time

// nullTexts is a column of text that may have NULLs.
type nullTexts []pgtype.Text

// Value implements [driver.Valuer].

func (a texts) Value() (driver.Value, error) { return []string(a), nil }

func (a bigints) Value() (driver.Value, error) { return []int64(a), nil }

func (a integers) Value() (driver.Value, error) { return []int32(a), nil }

func (a booleans) Value() (driver.Value, error) { return []bool(a), nil }

func (a times) Value() (driver.Value, error) { return []time.Time(a), nil }

func (a nullTexts) Value() (driver.Value, error) { return []pgtype.Text(a), nil }

// An array can append itself in the binary format of its PostgreSQL type.
type array interface {
	oid() uint32 // of the array type
	appendTo(buf []byte) []byte
	size() int // of what appendTo appends, or a little more
}

func (a texts) oid() uint32 { return pgtype.TextArrayOID }

func (a bigints) oid() uint32 { return pgtype.Int8ArrayOID }

func (a integers) oid() uint32 { return pgtype.Int4ArrayOID }

func (a booleans) oid() uint32 { return pgtype.BoolArrayOID }

func (a times) oid() uint32 { return pgtype.TimestamptzArrayOID }

func (a nullTexts) oid() uint32 { return pgtype.TextArrayOID }

func (a texts) size() int {
	n := headerSize + 4*len(a)
	for i := range a {
		n += len(a[i])
	}
	return n
}

func (a bigints) size() int { return headerSize + (4+8)*len(a) }

func (a integers) size() int { return headerSize + (4+4)*len(a) }

func (a booleans) size() int { return headerSize + (4+1)*len(a) }

func (a times) size() int { return headerSize + (4+8)*len(a) }

func (a nullTexts) size() int {
	n := headerSize + 4*len(a)
	for i := range a {
		n += len(a[i].String)
	}
	return n
}

// headerSize is the size of what appendHeader appends, at most.
const headerSize = 20

func (a texts) appendTo(buf []byte) []byte {
	buf = appendHeader(buf, len(a), pgtype.TextOID, false)
	for i := range a {
		buf = append(appendLength(buf, len(a[i])), a[i]...)
	}
	return buf
}

func (a bigints) appendTo(buf []byte) []byte {
	buf = appendHeader(buf, len(a), pgtype.Int8OID, false)
	for _, v := range a {
		buf = binary.BigEndian.AppendUint64(appendLength(buf, 8), uint64(v))
	}
	return buf
}

func (a integers) appendTo(buf []byte) []byte {
	buf = appendHeader(buf, len(a), pgtype.Int4OID, false)
	for _, v := range a {
		buf = binary.BigEndian.AppendUint32(appendLength(buf, 4), uint32(v))
	}
	return buf
}

func (a booleans) appendTo(buf []byte) []byte {
	buf = appendHeader(buf, len(a), pgtype.BoolOID, false)
	for _, v := range a {
		buf = appendLength(buf, 1)
		if v {
			buf = append(buf, 1)
		} else {
			buf = append(buf, 0)
		}
	}
	return buf
}

func (a times) appendTo(buf []byte) []byte {
	buf = appendHeader(buf, len(a), pgtype.TimestamptzOID, false)
	for _, t := range a {
		buf = binary.BigEndian.AppendUint64(appendLength(buf, 8), uint64(t.UnixMicro()-epoch))
	}
	return buf
}

// epoch is 2000-01-01, from which PostgreSQL counts microseconds, as Go counts them.
const epoch = 946_684_800_000_000

func (a nullTexts) appendTo(buf []byte) []byte {
	buf = appendHeader(buf, len(a), pgtype.TextOID, true)
	for i := range a {
		if !a[i].Valid {
			buf = appendLength(buf, -1)
			continue
		}
		buf = append(appendLength(buf, len(a[i].String)), a[i].String...)
	}
	return buf
}

// appendHeader appends the header of an array with n elements: the number of dimensions,
// whether it may have NULLs, the type of the elements, and the length and the lower bound
// of the dimension. An empty array has no dimension. PostgreSQL's array_recv reads it.
func appendHeader(buf []byte, n int, element uint32, nulls bool) []byte {
	dimensions := min(n, 1)
	flags := uint32(0)
	if nulls {
		flags = 1
	}
	buf = binary.BigEndian.AppendUint32(buf, uint32(dimensions))
	buf = binary.BigEndian.AppendUint32(buf, flags)
	buf = binary.BigEndian.AppendUint32(buf, element)
	if dimensions > 0 {
		buf = binary.BigEndian.AppendUint32(buf, uint32(n))
		buf = binary.BigEndian.AppendUint32(buf, 1)
	}
	return buf
}

// appendLength appends the length of an element. -1 is NULL.
func appendLength(buf []byte, n int) []byte {
	return binary.BigEndian.AppendUint32(buf, uint32(int32(n)))
}

// sendColumns makes a connection encode columns as their types in this file do, until
// restore is called. The pool may belong to an application too, which must get the
// connection as it was: pgx itself treats arrays with a codec of another type differently.
func sendColumns(m *pgtype.Map, room *room) (restore func()) {
	var types []*pgtype.Type
	for _, oid := range []uint32{pgtype.TextArrayOID, pgtype.Int8ArrayOID, pgtype.Int4ArrayOID, pgtype.BoolArrayOID, pgtype.TimestamptzArrayOID} {
		if t, ok := m.TypeForOID(oid); ok {
			types = append(types, t)
			m.RegisterType(&pgtype.Type{Name: t.Name, OID: t.OID, Codec: arrayCodec{t.Codec, room}})
		}
	}
	return func() { m.RegisterTypes(types) }
}

// arrayCodec is the codec of an array type that also encodes the types of this file.
type arrayCodec struct {
	pgtype.Codec

	room *room
}

// PlanEncode implements [pgtype.Codec].
func (c arrayCodec) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if a, ok := value.(array); ok && format == pgtype.BinaryFormatCode && a.oid() == oid {
		return arrayPlan{c.room}
	}
	return c.Codec.PlanEncode(m, oid, format, value)
}

type arrayPlan struct{ room *room }

// Encode implements [pgtype.EncodePlan].
func (p arrayPlan) Encode(value any, buf []byte) ([]byte, error) {
	a := value.(array)
	return a.appendTo(grow(&p.room.params, buf, a.size())), nil
}
