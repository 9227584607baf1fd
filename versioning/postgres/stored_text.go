package postgres

import (
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgtype"
)

// stored returns the text of the value that PostgreSQL stores when it is sent a text: a
// number gets the scale of its column, a time its precision. It returns a text that
// PostgreSQL will reject as it is.
func (c *tableColumn) stored(text string) string {
	switch c.base {
	case pgtype.NumericOID:
		return storedNumeric(text, c.modifier)
	case pgtype.TimestamptzOID, pgtype.TimestampOID:
		if c.modifier >= 0 {
			return storedTime(text, c.modifier)
		}
	case pgtype.VarcharOID:
		return c.trimmed(text)
	case pgtype.UUIDOID:
		if canonical, err := c.canonical(text); err == nil {
			return canonical
		}
	}
	return text
}

// trimmed cuts blanks that exceed the length of a varchar, as PostgreSQL does.
func (c *tableColumn) trimmed(text string) string {
	if c.maxLength == 0 || utf8.RuneCountInString(text) <= c.maxLength {
		return text
	}
	kept := []rune(text)[:c.maxLength]
	if strings.TrimRight(text, " ") == strings.TrimRight(string(kept), " ") {
		return string(kept)
	}
	return text
}

// storedTime rounds a time to a number of digits after the second.
func storedTime(text string, digits int) string {
	for _, layout := range []string{"2006-01-02 15:04:05.999999999Z07:00:00", "2006-01-02 15:04:05.999999999"} {
		if at, err := time.Parse(layout, text); err == nil && at.Year() >= 1 {
			unit := time.Second
			for range digits {
				unit /= 10
			}
			return at.Round(unit).Format(layout)
		}
	}
	return text
}

// maxNumericExponent limits the exponents that storedNumeric writes out.
const maxNumericExponent = 1000

var decimalNumber = regexp.MustCompile(`^([+-]?)([0-9]*)\.?([0-9]*)(?:[eE]([+-]?[0-9]{1,4}))?$`)

// storedNumeric writes a number without an exponent. With a type modifier, it rounds half
// away from zero to the modifier's scale, or adds zeros.
func storedNumeric(text string, modifier int) string {
	m := decimalNumber.FindStringSubmatch(text)
	if m == nil {
		return text // NaN, infinity, or no number
	}
	sign, digits, point := m[1], m[2]+m[3], len(m[2])
	if digits == "" {
		return text
	}
	if m[4] != "" {
		exponent, err := strconv.Atoi(m[4])
		if err != nil || exponent > maxNumericExponent || exponent < -maxNumericExponent {
			return text
		}
		point += exponent
	}
	if point < 0 {
		digits, point = strings.Repeat("0", -point)+digits, 0
	}
	if point > len(digits) {
		digits += strings.Repeat("0", point-len(digits))
	}
	if modifier >= 0 {
		digits, point = scaled(digits, point, numericScale(modifier))
	}
	whole := strings.TrimLeft(digits[:point], "0")
	if whole == "" {
		whole = "0"
	}
	if strings.Trim(digits, "0") == "" || sign == "+" {
		sign = ""
	}
	if point == len(digits) {
		return sign + whole
	}
	return sign + whole + "." + digits[point:]
}

// numericScale returns the number of digits after the point that a type modifier of
// numeric asks for. It is negative if digits before the point are rounded.
func numericScale(modifier int) int { return ((modifier-4)&0x7ff ^ 1024) - 1024 }

// scaled rounds a number, or adds zeros, so that it has scale digits after the point.
func scaled(digits string, point, scale int) (string, int) {
	if missing := scale - (len(digits) - point); missing >= 0 {
		return digits + strings.Repeat("0", missing), point
	}
	kept, up := []byte(digits[:point+scale]), digits[point+scale] >= '5'
	for i := len(kept) - 1; up && i >= 0; i-- {
		if up = kept[i] == '9'; up {
			kept[i] = '0'
		} else {
			kept[i]++
		}
	}
	if up {
		return "1" + string(kept), point + 1
	}
	return string(kept), point
}
