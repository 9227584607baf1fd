package postgres

import (
	"encoding/hex"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgtype"
)

// maxIndexedBytes is a length that an entry of any index can hold.
const maxIndexedBytes = 1024

// takes reports whether PostgreSQL is certain to accept a value for its column,
// whatever else is in the row. If it returns false, PostgreSQL has to try the value.
func (t *table) takes(value column) bool {
	c := &t.columns[value.at]
	switch {
	case value.null:
		return !c.notNull
	case c.domain || c.array || t.rules.indexed[value.at] && len(value.text) > maxIndexedBytes:
		return false
	case len(c.labels) > 0:
		return slices.Contains(c.labels, value.text)
	case c.base == pgtype.NumericOID:
		return isNumeric(value.text, c.modifier)
	case c.base == pgtype.VarcharOID && c.maxLength > 0:
		return utf8.RuneCountInString(value.text) <= c.maxLength
	case c.modifier >= 0:
		return false
	}
	return isOf(c.base, value.text)
}

// isOf reports whether a text is a value of a type. It knows only the common forms.
func isOf(oid uint32, text string) bool {
	var err error
	switch oid {
	case pgtype.TextOID, pgtype.VarcharOID:
		return true
	case pgtype.Int8OID, pgtype.Int4OID, pgtype.Int2OID:
		_, err = strconv.ParseInt(text, 10, intBits(oid))
		return err == nil
	case pgtype.Float8OID:
		_, err = strconv.ParseFloat(text, 64)
		return err == nil && isNumeric(text, -1)
	case pgtype.BoolOID:
		return slices.Contains([]string{"t", "f", "true", "false"}, text)
	case pgtype.UUIDOID:
		_, ok := parseUUID(text)
		return ok
	case pgtype.ByteaOID:
		digits, isHex := strings.CutPrefix(text, `\x`)
		_, err = hex.DecodeString(digits)
		return isHex && err == nil
	case pgtype.DateOID:
		return isTime(text, time.DateOnly)
	case pgtype.TimestamptzOID, pgtype.TimestampOID:
		return isTime(text, time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05")
	case pgtype.JSONOID, pgtype.JSONBOID:
		return isPlainJSON(text)
	}
	return false
}

func isTime(text string, layouts ...string) bool {
	return slices.ContainsFunc(layouts, func(layout string) bool {
		at, err := time.Parse(layout, text)
		return err == nil && at.Year() >= 1
	})
}

var numeric = regexp.MustCompile(`^[+-]?([0-9]{1,100})(\.[0-9]{1,100})?$`)

// isNumeric reports whether a text is a number that fits a numeric column. modifier is
// the column's type modifier, or -1.
func isNumeric(text string, modifier int) bool {
	m := numeric.FindStringSubmatch(text)
	if m == nil || modifier < 0 {
		return m != nil
	}
	precision, scale := (modifier-4)>>16, (modifier-4)&0x7ff
	return scale <= precision && len(m[1]) < precision-scale // leave one digit for a carry from rounding
}

// hugeExponent matches JSON numbers that may not fit into numeric.
var hugeExponent = regexp.MustCompile(`[0-9][eE][+-]?[0-9]{4}`)

// maxPlainJSON is a size that PostgreSQL can parse at any nesting depth.
const maxPlainJSON = 4096

// isPlainJSON reports whether a text is JSON that jsonb is certain to accept. jsonb
// rejects some characters, which are written as escapes, and huge numbers.
func isPlainJSON(text string) bool {
	return len(text) <= maxPlainJSON && json.Valid([]byte(text)) && !strings.Contains(text, `\u`) && !hugeExponent.MatchString(text)
}
