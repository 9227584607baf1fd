package versioning

import (
	"fmt"
	"maps"
	"slices"

	"github.com/pawl-go/pawl/statemachine"
)

// A Digest stands for what a change asks for: its event, and the columns that it sets,
// as text. Equal changes have equal digests, in every process and whatever the order
// of the columns. 0 is unknown: the step is older than digests.
type Digest int64

// Digest returns the digest of a change.
func (r *Record) Digest(change int) Digest {
	if change < len(r.Digests) && r.Digests[change] != 0 {
		return r.Digests[change]
	}
	c := &r.Changes[change]
	d := NewDigester(c.Event)
	if len(c.Set) > 0 { // for no column, sorting allocates
		for _, name := range slices.Sorted(maps.Keys(c.Set)) {
			value := c.Set[name]
			d.Column(name, fmt.Sprint(value), value == nil)
		}
	}
	return d.Sum()
}

// Digest returns the digest of the change that made the step.
func (s *Step) Digest() Digest { return s.Record.Digest(s.Change) }

// A Digester computes a digest: the hash FNV-1a of 64 bits, which package hash/fnv takes
// bytes for. Texts are valid UTF-8, so bytes that UTF-8 does not have keep them apart.
type Digester uint64

const (
	digestOffset = 14695981039346656037
	digestPrime  = 1099511628211
	endOfText    = 0xff
	noText       = 0xfe // NULL
)

// NewDigester begins the digest of a change.
func NewDigester(event statemachine.Event) Digester {
	d := Digester(digestOffset)
	d.text(string(event))
	return d
}

// Column adds a column that the change sets, as text or NULL. Columns have to come in the
// order of their names.
func (d *Digester) Column(name, text string, null bool) {
	d.text(name)
	if null {
		d.byte(noText)
		return
	}
	d.text(text)
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
