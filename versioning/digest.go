package versioning

import (
	"fmt"
	"maps"
	"slices"

	"github.com/pawl-go/pawl/statemachine"
)

// A Digest is a hash of what a change asks for: its event, the columns it sets, as text,
// and its data. Equal changes have equal digests in every process, in whatever order the
// columns are. 0 means unknown: the step was made before digests were stored.
type Digest int64

// Digest returns the digest of a change.
func (r *Record) Digest(change int) Digest {
	if change < len(r.Digests) && r.Digests[change] != 0 {
		return r.Digests[change]
	}
	c := &r.Changes[change]
	d := NewDigester(c.Event)
	if len(c.Set) > 0 { // without columns, skip the sort, which allocates
		for _, name := range slices.Sorted(maps.Keys(c.Set)) {
			value := c.Set[name]
			d.Column(name, fmt.Sprint(value), value == nil)
		}
	}
	if change < len(r.Encoded) {
		d.Data(r.Encoded[change])
	}
	return d.Sum()
}

// Digest returns the digest of the change that made the step.
func (s *Step) Digest() Digest { return s.Record.Digest(s.Change) }

// A Digester computes a digest with 64-bit FNV-1a. Package hash/fnv is not used because
// it takes byte slices. The bytes 0xff and 0xfe separate the texts: they do not occur
// in valid UTF-8.
type Digester uint64

const (
	digestOffset = 14695981039346656037
	digestPrime  = 1099511628211
	endOfText    = 0xff
	noText       = 0xfe // NULL
)

// NewDigester starts the digest of a change.
func NewDigester(event statemachine.Event) Digester {
	d := Digester(digestOffset)
	d.text(string(event))
	return d
}

// Column adds a column that the change sets, as text or NULL. Call it in the order of
// the column names.
func (d *Digester) Column(name, text string, null bool) {
	d.text(name)
	if null {
		d.byte(noText)
		return
	}
	d.text(text)
}

// Data adds the encoded data of a change, after its columns. nil means none.
func (d *Digester) Data(encoded []byte) {
	if encoded == nil {
		return
	}
	for _, b := range encoded {
		d.byte(b)
	}
	d.byte(endOfText)
}

func (d *Digester) text(s string) {
	for i := range len(s) {
		d.byte(s[i])
	}
	d.byte(endOfText)
}

func (d *Digester) byte(b byte) {
	*d ^= Digester(b)
	*d *= digestPrime
}

// Sum returns the digest, which is never 0.
func (d *Digester) Sum() Digest {
	if *d == 0 {
		return 1
	}
	return Digest(*d)
}
