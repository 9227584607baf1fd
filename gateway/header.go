package gateway

import (
	"errors"
	"fmt"
)

const (
	headerKey      = "Idempotency-Key"
	headerReplayed = "Idempotent-Replayed"
	headerBody     = "Idempotent-Body"
)

// maxKey is the longest key in bytes, without quotes.
const maxKey = 255

var (
	errSeveralKeys = errors.New("the request has several Idempotency-Key headers; send one")
	errEmptyKey    = errors.New("the Idempotency-Key is empty")
	errLongKey     = fmt.Errorf("the Idempotency-Key has more than %d characters", maxKey)
	errKeySyntax   = errors.New(`the Idempotency-Key must be a string in double quotes, such as "8e03978e-40d5-43dd-bc93-6894a57f9324", ` +
		`or the same without quotes if it has no spaces, commas, semicolons, quotes or backslashes`)
)

// parseKey returns the key in the lines of the header. By draft-ietf-httpapi-idempotency-key-header
// it is a String of RFC 9651: printable ASCII in double quotes, with \" and \\ for a quote and
// a backslash. Most clients send it without quotes, so that is accepted too, and is the same
// key. Parameters are not.
func parseKey(lines []string) (string, error) {
	if len(lines) != 1 {
		return "", errSeveralKeys
	}
	line := lines[0]
	var key string
	var ok bool
	if len(line) > 0 && line[0] == '"' {
		key, ok = unquote(line)
	} else {
		key, ok = line, isBare(line)
	}
	switch {
	case !ok:
		return "", errKeySyntax
	case key == "":
		return "", errEmptyKey
	case len(key) > maxKey:
		return "", errLongKey
	}
	return key, nil
}

// unquote returns the value of a String of RFC 9651, section 3.3.3.
func unquote(s string) (string, bool) {
	if len(s) < 2 || s[len(s)-1] != '"' {
		return "", false
	}
	inner := s[1 : len(s)-1]
	key := make([]byte, 0, len(inner))
	for i := 0; i < len(inner); i++ {
		c := inner[i]
		switch {
		case c == '\\':
			if i++; i == len(inner) || inner[i] != '"' && inner[i] != '\\' {
				return "", false
			}
			c = inner[i]
		case c == '"' || c < ' ' || c > '~':
			return "", false
		}
		key = append(key, c)
	}
	return string(key), true
}

// isBare reports whether a key needs no quotes.
func isBare(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c <= ' ' || c > '~', c == '"', c == '\\', c == ',', c == ';':
			return false
		}
	}
	return true
}
