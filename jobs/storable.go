package jobs

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Limits for what PostgreSQL stores of a job as jsonb. PostgreSQL's own are higher, but
// they depend on its configuration.
const (
	maxJSONBytes    = 1 << 20
	maxJSONDepth    = 500
	maxNumberDigits = 1000
	maxExponent     = 10000
)

var (
	errNotUTF8 = errors.New("it is not valid UTF-8")
	errEscape  = errors.New(`it has a NUL or half a surrogate pair in a string, which PostgreSQL can't store`)
	errNesting = fmt.Errorf("it is nested more than %d deep", maxJSONDepth)
	errNumber  = errors.New("it has a number that is too long")
)

// storable says why PostgreSQL can't store JSON text, which must be valid, as jsonb.
func storable(text []byte) error {
	switch {
	case len(text) > maxJSONBytes:
		return fmt.Errorf("it has %d bytes of JSON; the limit is %d", len(text), maxJSONBytes)
	case !utf8.Valid(text):
		return errNotUTF8
	}
	depth := 0
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '"':
			n, err := stringLength(text[i:])
			if err != nil {
				return err
			}
			i += n
		case c == '-' || c >= '0' && c <= '9':
			n := numberLength(text[i:])
			if !shortNumber(text[i : i+n]) {
				return errNumber
			}
			i += n
		default:
			switch c {
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			if depth > maxJSONDepth {
				return errNesting
			}
			i++
		}
	}
	return nil
}

// stringLength returns the length of the string that text begins with, and checks its
// escapes.
func stringLength(text []byte) (int, error) {
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == '"':
			return i + 1, nil
		case text[i] != '\\':
		case text[i+1] != 'u':
			i++
		default:
			switch unit := codeUnit(text[i:]); {
			case unit == 0, unit >= 0xdc00 && unit <= 0xdfff:
				return 0, errEscape
			case unit >= 0xd800 && unit <= 0xdbff:
				if low := codeUnit(text[i+6:]); low < 0xdc00 || low > 0xdfff {
					return 0, errEscape
				}
				i += 6
			}
			i += 5
		}
	}
	return len(text), nil
}

// codeUnit returns the number in \uXXXX, or 0 if text does not begin with that.
func codeUnit(text []byte) uint64 {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0
	}
	unit, _ := strconv.ParseUint(string(text[2:6]), 16, 16)
	return unit
}

func numberLength(text []byte) int {
	for i, c := range text {
		switch {
		case c >= '0' && c <= '9', c == '-', c == '+', c == '.', c == 'e', c == 'E':
		default:
			return i
		}
	}
	return len(text)
}

func shortNumber(text []byte) bool {
	for i, c := range text {
		if c == 'e' || c == 'E' {
			exponent, err := strconv.Atoi(string(text[i+1:]))
			return err == nil && i <= maxNumberDigits && exponent >= -maxExponent && exponent <= maxExponent
		}
	}
	return len(text) <= maxNumberDigits
}
