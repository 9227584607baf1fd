package postgres

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"strconv"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pawl-go/pawl/versioning"
)

// decode sets a field to the value of a cell. It has faster ways for the most common
// types.
func (f *rowField) decode(m *pgtype.Map, c cell, into reflect.Value) error {
	if c.isSet && f.decodeCommon(c, into) {
		return nil
	}
	into.SetZero()
	var raw []byte
	if c.isSet {
		raw = []byte(c.value)
	}
	if err := m.Scan(f.column.base, c.format, raw, into.Addr().Interface()); err != nil {
		return fmt.Errorf("column %q: %w", f.Column, err)
	}
	return nil
}

// decodeCommon decodes an integer, a boolean or a text. It returns false if it can't.
func (f *rowField) decodeCommon(c cell, into reflect.Value) bool {
	isText := c.format == pgtype.TextFormatCode
	switch f.column.base {
	case pgtype.Int8OID, pgtype.Int4OID, pgtype.Int2OID:
		if !f.common || !into.CanInt() {
			return false
		}
		n, ok := integerOf(c.value, isText)
		if ok {
			into.SetInt(n)
		}
		return ok
	case pgtype.BoolOID:
		if !f.common || into.Kind() != reflect.Bool || len(c.value) != 1 {
			return false
		}
		into.SetBool(c.value[0] == 't' || c.value[0] == 1)
		return true
	case pgtype.TextOID, pgtype.VarcharOID:
		if !f.common || into.Kind() != reflect.String {
			return false
		}
		into.SetString(c.value)
		return true
	}
	return false
}

func integerOf(value string, isText bool) (n int64, ok bool) {
	switch {
	case isText:
		n, err := strconv.ParseInt(value, 10, 64)
		return n, err == nil
	case len(value) == 8:
		return int64(binary.BigEndian.Uint64([]byte(value))), true
	case len(value) == 4:
		return int64(int32(binary.BigEndian.Uint32([]byte(value)))), true
	case len(value) == 2:
		return int64(int16(binary.BigEndian.Uint16([]byte(value)))), true
	}
	return 0, false
}

// encode returns the value of a field as the text that PostgreSQL would store.
func (f *rowField) encode(m *pgtype.Map, value reflect.Value) (text string, null bool, err error) {
	switch {
	case f.common && value.CanInt() && f.column.isInteger():
		return strconv.FormatInt(value.Int(), 10), false, nil
	case f.common && value.Kind() == reflect.Bool && f.column.base == pgtype.BoolOID:
		return strconv.FormatBool(value.Bool())[:1], false, nil
	case f.plainText:
		text = value.String()
	default:
		var buf []byte
		if buf, err = encodeWith(m, f.column.base, value.Interface()); err != nil || buf == nil {
			if err != nil {
				err = fmt.Errorf("column %q: %w", f.Column, err)
			}
			return "", buf == nil, err
		}
		text = string(buf)
	}
	if !versioning.StorableText(text) {
		return "", false, fmt.Errorf("column %q: the value is %w", f.Column, versioning.ErrText)
	}
	return f.column.stored(text), false, nil
}

// encodeWith calls methods of the value, which may panic.
func encodeWith(m *pgtype.Map, oid uint32, value any) (buf []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			buf, err = nil, fmt.Errorf("encode a %T: panic: %v", value, p)
		}
	}()
	return m.Encode(oid, pgtype.TextFormatCode, value, nil)
}

// isExact reports whether every value of the field is stored as it is.
func (f *rowField) isExact() bool {
	switch f.Type.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int64, reflect.Int32, reflect.Int16:
		return f.common
	default:
		return false
	}
}

// isSame reports whether two values of a field are certain to be the same.
func (f *rowField) isSame(a, b reflect.Value) bool { return f.comparable && a.Equal(b) }

// hasText reports whether a value of a field has a given text.
func (f *rowField) hasText(m *pgtype.Map, value reflect.Value, text string, null bool) bool {
	if f.common {
		return false // isSame has decided
	}
	had, hadNull, err := f.encode(m, value)
	return err == nil && hadNull == null && had == text
}
