package registry

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/pawl-go/pawl/versioning"
)

// SchemaHeader is the header of a record that names the schema of its value, instead of a prefix
// of the value.
const SchemaHeader = "__value_schema_id"

// ErrFormat says that a record does not say which schema it has.
var ErrFormat = errors.New("the record names no schema")

const (
	magicID   = 0 // a schema's ID follows, in 4 bytes
	magicGUID = 1 // a schema's GUID follows, in 16 bytes
)

// A schemaID identifies a schema.
type schemaID struct {
	isGUID bool
	bytes  [16]byte // of an ID only the first 4
}

// number returns the ID.
func (id schemaID) number() int { return int(binary.BigEndian.Uint32(id.bytes[:4])) }

// String returns the ID or the GUID.
func (id schemaID) String() string {
	if !id.isGUID {
		return strconv.Itoa(id.number())
	}
	h := hex.EncodeToString(id.bytes[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// cut removes the name of a schema from the beginning of bytes.
func cut(b []byte) (id schemaID, rest []byte, ok bool) {
	switch {
	case len(b) >= 5 && b[0] == magicID:
		copy(id.bytes[:], b[1:5])
		return id, b[5:], true
	case len(b) >= 17 && b[0] == magicGUID:
		id.isGUID = true
		copy(id.bytes[:], b[1:17])
		return id, b[17:], true
	}
	return schemaID{}, nil, false
}

// maxID is the largest ID: registries count with an int of Java.
const maxID = 1<<31 - 1

// A frame is a record's value, and what says which schema it has.
type frame struct {
	id    schemaID
	index []int // nil unless it was asked for
	data  []byte
}

// split returns the frame of a record. The header comes first; if there are several, the last one
// counts, as for other clients. indexed says that a message index follows the schema's name.
func split(r *versioning.Record, indexed bool) (f frame, err error) {
	name, inHeader := r.Value, false
	for i := len(r.Headers) - 1; i >= 0 && !inHeader; i-- {
		if r.Headers[i].Key == SchemaHeader {
			name, inHeader = r.Headers[i].Value, true
		}
	}
	if r.Value == nil {
		return frame{}, fmt.Errorf("%w: it has no value (a tombstone)", ErrFormat)
	}
	id, rest, ok := cut(name)
	switch {
	case !ok && inHeader:
		return frame{}, fmt.Errorf("%w: its header %s has %d bytes that are neither an ID nor a GUID", ErrFormat, SchemaHeader, len(name))
	case !ok:
		return frame{}, fmt.Errorf("%w: its %d bytes do not begin with a schema's ID or GUID", ErrFormat, len(name))
	case !id.isGUID && (id.number() == 0 || id.number() > maxID):
		return frame{}, fmt.Errorf("%w: no schema has the ID %d", ErrFormat, id.number())
	}
	f.id = id
	if indexed {
		if f.index, rest, err = cutIndex(rest); err != nil {
			return frame{}, fmt.Errorf("%w: %w", ErrFormat, err)
		}
	}
	if f.data = rest; inHeader {
		f.data = r.Value
	}
	return f, nil
}

// maxDepth limits how deep messages are nested.
const maxDepth = 100

var (
	errIndex = errors.New("it has no valid message index")
	first    = []int{0} // must not be changed
)

// cutIndex removes a message index from the beginning of bytes.
func cutIndex(b []byte) (index []int, rest []byte, err error) {
	if len(b) > 0 && b[0] == 0 {
		return first, b[1:], nil
	}
	index, rest, err = new(sr.ConfluentHeader).DecodeIndex(b, maxDepth)
	if err != nil {
		return nil, nil, errIndex
	}
	for _, i := range index {
		if i < 0 || i > maxID {
			return nil, nil, errIndex
		}
	}
	return index, rest, nil
}

// prefixOf returns the prefix of a value.
func prefixOf(id int, index []int) ([]byte, error) {
	if id <= 0 || id > maxID {
		return nil, fmt.Errorf("the registry has returned the ID %d", id)
	}
	prefix, err := new(sr.ConfluentHeader).AppendEncode(nil, id, index)
	return slices.Clip(prefix), err
}
