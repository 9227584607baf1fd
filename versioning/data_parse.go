package versioning

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// A dataParser reads the tokens of a text that is known to be valid JSON. So it only has
// to check that a value has the expected type.
type dataParser struct {
	text  []byte
	pos   int
	depth int // the pointers, slices and maps around pos
}

// next skips white space and returns the first byte of the next token.
func (p *dataParser) next() byte {
	for {
		switch c := p.text[p.pos]; c {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return c
		}
	}
}

// want says that the next value has the wrong type.
func (p *dataParser) want(what string) error {
	got := "a number"
	switch p.next() {
	case '{':
		got = "an object"
	case '[':
		got = "an array"
	case '"':
		got = "a string"
	case 't', 'f':
		got = "a boolean"
	case 'n':
		got = "null"
	}
	return fmt.Errorf("want %s, got %s", what, got)
}

// null reads a null if that is next.
func (p *dataParser) null() bool {
	if p.next() != 'n' {
		return false
	}
	p.pos += len("null")
	return true
}

// enter and leave count what is inside a pointer, slice or map.
func (p *dataParser) enter() error {
	if p.depth == maxDataDepth {
		return errDataDepth
	}
	p.depth++
	return nil
}

func (p *dataParser) leave() { p.depth-- }

// array reads the start of an array. The elements follow, each after a call of more or
// element.
func (p *dataParser) array() error {
	if p.next() != '[' {
		return p.want("an array")
	}
	p.pos++
	return nil
}

// more reads up to the next element of an array or object. It returns false after the
// last one.
func (p *dataParser) more(end byte) bool {
	switch p.next() {
	case end:
		p.pos++
		return false
	case ',':
		p.pos++
	}
	return true
}

// element reads up to the next element of an array, which must have one.
func (p *dataParser) element() error {
	if !p.more(']') {
		return errors.New("too few elements")
	}
	return nil
}

// end reads the end of an array, which must have no more elements.
func (p *dataParser) end() error {
	if p.more(']') {
		return errors.New("too many elements")
	}
	return nil
}

func (p *dataParser) number() ([]byte, error) {
	if c := p.next(); c != '-' && (c < '0' || c > '9') {
		return nil, p.want("a number")
	}
	start := p.pos
	for p.pos < len(p.text) && isNumeric(p.text[p.pos]) {
		p.pos++
	}
	return p.text[start:p.pos], nil
}

func isNumeric(c byte) bool {
	return c >= '0' && c <= '9' || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E'
}

// str reads a string as appendString writes it.
func (p *dataParser) str() (string, error) {
	if p.next() != '{' {
		return p.plainString()
	}
	p.pos++
	if !p.more('}') {
		return "", errors.New(`want a string or {"base64":...}, got an empty object`)
	}
	name, err := p.label()
	if err != nil {
		return "", err
	}
	if string(name) != "base64" {
		return "", fmt.Errorf(`want a string or {"base64":...}, got an object with %q`, name)
	}
	b, err := p.base64()
	if err != nil {
		return "", err
	}
	if p.more('}') {
		return "", errors.New(`want only "base64" in the object of a string`)
	}
	return string(b), nil
}

// label reads the name of a field and the colon. It may return a part of the text.
func (p *dataParser) label() ([]byte, error) {
	name, err := p.quoted()
	p.next() // the colon
	p.pos++
	return name, err
}

func (p *dataParser) plainString() (string, error) {
	s, err := p.quoted()
	return string(s), err
}

func (p *dataParser) base64() ([]byte, error) {
	s, err := p.quoted()
	if err != nil {
		return nil, err
	}
	b := make([]byte, base64.StdEncoding.DecodedLen(len(s)))
	n, err := base64.StdEncoding.Decode(b, s)
	return b[:n:n], err
}

// quoted reads a string in quotes. It may return a part of the text.
func (p *dataParser) quoted() ([]byte, error) {
	if p.next() != '"' {
		return nil, p.want("a string")
	}
	start := p.pos
	end := start + 1
	for p.text[end] != '"' {
		if p.text[end] == '\\' {
			end++
		}
		end++
	}
	p.pos = end + 1
	inside := p.text[start+1 : end]
	if bytes.IndexByte(inside, '\\') < 0 {
		return inside, nil
	}
	var s string
	err := json.Unmarshal(p.text[start:p.pos], &s)
	return []byte(s), err
}
