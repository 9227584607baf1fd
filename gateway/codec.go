package gateway

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
)

// The first byte of what is stored.
const (
	formatPlain  = 1 // the encoded response follows
	formatSealed = 2 // the encryption key's ID follows, after its length, then the nonce and the ciphertext
)

// maxKeyID is the longest ID of an encryption key in bytes.
const maxKeyID = 32

// A codec turns responses into what is stored, and back.
type codec struct {
	first  string // the ID of the key that encrypts; empty if none does
	keys   map[string]cipher.AEAD
	sealed bool // what is not encrypted is refused
}

func newCodec(keys []EncryptionKey) (*codec, error) {
	c := &codec{first: encrypting(keys), keys: make(map[string]cipher.AEAD, len(keys))}
	for _, key := range keys {
		block, err := aes.NewCipher(key.Secret)
		if err != nil {
			return nil, fmt.Errorf("encryption key %q: %w", key.ID, err)
		}
		if c.keys[key.ID], err = cipher.NewGCM(block); err != nil {
			return nil, fmt.Errorf("encryption key %q: %w", key.ID, err)
		}
	}
	return c, nil
}

// encode returns what is stored for a key. A ciphertext is bound to its key: it can't be
// decrypted for another.
func (c *codec) encode(key Key, r *response) []byte {
	if c.first == "" {
		return r.append([]byte{formatPlain})
	}
	aead := c.keys[c.first]
	sealed := append([]byte{formatSealed, byte(len(c.first))}, c.first...)
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	sealed = append(sealed, nonce...)
	return aead.Seal(sealed, nonce, r.append(nil), bound(key))
}

// bound returns the data that a ciphertext is bound to.
func bound(key Key) []byte {
	id := key.ID()
	return id[:]
}

var (
	errFormat    = errors.New("not in a format that this version knows")
	errTruncated = errors.New("truncated")
	errPlain     = errors.New("not encrypted, but Config.RequireEncryption is set")
)

// decode returns a stored response. The body shares memory with stored.
func (c *codec) decode(key Key, stored []byte) (*response, error) {
	if len(stored) == 0 {
		return nil, errTruncated
	}
	switch format, rest := stored[0], stored[1:]; format {
	case formatPlain:
		if c.sealed {
			return nil, errPlain
		}
		return parseResponse(rest)
	case formatSealed:
		plain, err := c.open(key, rest)
		if err != nil {
			return nil, err
		}
		return parseResponse(plain)
	}
	return nil, errFormat
}

func (c *codec) open(key Key, sealed []byte) ([]byte, error) {
	d := decoder{rest: sealed}
	id := string(d.bytes(d.byte()))
	if d.err != nil {
		return nil, d.err
	}
	aead := c.keys[id]
	if aead == nil {
		return nil, fmt.Errorf("it is encrypted with key %q, which is not configured", id)
	}
	nonce := d.bytes(aead.NonceSize())
	if d.err != nil {
		return nil, d.err
	}
	plain, err := aead.Open(nil, nonce, d.rest, bound(key))
	if err != nil {
		return nil, fmt.Errorf("decrypt with key %q: %w", id, err)
	}
	return plain, nil
}

// append appends the response: fingerprint, flags, status, headers in the order of their
// names, body. Numbers are uvarints, and lengths precede texts.
func (r *response) append(b []byte) []byte {
	b = append(b, r.fingerprint[:]...)
	var flags byte
	if r.omitted {
		flags = 1
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(r.status))
	b = binary.AppendUvarint(b, uint64(len(r.header)))
	for _, name := range slices.Sorted(maps.Keys(r.header)) {
		b = appendText(b, name)
		b = binary.AppendUvarint(b, uint64(len(r.header[name])))
		for _, value := range r.header[name] {
			b = appendText(b, value)
		}
	}
	return append(b, r.body...)
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// parseResponse is the inverse of append.
func parseResponse(b []byte) (*response, error) {
	d := decoder{rest: b}
	r := &response{}
	copy(r.fingerprint[:], d.bytes(len(r.fingerprint)))
	flags := d.byte()
	r.status = d.number()
	r.header = make(http.Header)
	for range d.number() {
		name := string(d.bytes(d.number()))
		var values []string
		for range d.number() {
			values = append(values, string(d.bytes(d.number())))
			if d.err != nil {
				return nil, d.err
			}
		}
		if d.err != nil {
			return nil, d.err
		}
		r.header[name] = values
	}
	r.body, r.omitted = d.rest, flags&1 != 0
	switch {
	case d.err != nil:
		return nil, d.err
	case flags > 1 || r.status < 200 || r.status > 999:
		return nil, errFormat
	}
	return r, nil
}

// A decoder reads values from the front of a text. After the first error, all are empty.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) bytes(n int) []byte {
	if d.err != nil || n > len(d.rest) {
		d.err = errors.Join(d.err, io.ErrUnexpectedEOF)
		return nil
	}
	var b []byte
	b, d.rest = d.rest[:n], d.rest[n:]
	return b
}

func (d *decoder) byte() int {
	b := d.bytes(1)
	if len(b) == 0 {
		return 0
	}
	return int(b[0])
}

// number reads a uvarint. It is at most what is left to read, or the largest status.
func (d *decoder) number() int {
	n, size := binary.Uvarint(d.rest)
	if d.err != nil || size <= 0 || n > uint64(max(len(d.rest), 999)) {
		d.err = errors.Join(d.err, errTruncated)
		return 0
	}
	d.rest = d.rest[size:]
	return int(n)
}
