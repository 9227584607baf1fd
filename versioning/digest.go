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

// digest returns the digest of a change.
func (r *Record) digest(change int) Digest {
	if change < len(r.encoded) && r.encoded[change].digest != 0 {
		return r.encoded[change].digest
	}
	c := &r.Changes[change]
	d := digestOf(c.Event)
	if len(c.Set) > 0 { // for no column, sorting allocates
		for _, name := range slices.Sorted(maps.Keys(c.Set)) {
			value := c.Set[name]
			d.column(name, fmt.Sprint(value), value == nil)
		}
	}
	return d.sum()
}

// Digest returns the digest of the change that made the step.
func (s *Step) Digest() Digest { return s.Record.digest(s.Change) }

// digest returns the digest of a change of a table. Values count as they are by
// themselves, not as what their columns make of them: the table may be altered before
// the message comes again. Columns are the encoded ones, or nil if they don't fit.
func (t *types) digest(table *table, c *Change, columns []column) Digest {
	d := digestOf(c.Event)
	for i := range columns { // which are in the order of their names
		name := table.columns[columns[i].at].name
		text, null := t.plain(c.Set[name], columns[i].text)
		d.column(name, text, null)
	}
	if columns == nil {
		for _, name := range slices.Sorted(maps.Keys(c.Set)) {
			text, null := t.plain(c.Set[name], "")
			d.column(name, text, null)
		}
	}
	return d.sum()
}

// A digester is the hash FNV-1a of 64 bits, which package hash/fnv takes bytes for.
// Texts are valid UTF-8, so bytes that UTF-8 does not have keep them apart.
type digester uint64

const (
	digestOffset = 14695981039346656037
	digestPrime  = 1099511628211
	endOfText    = 0xff
	noText       = 0xfe // NULL
)

func digestOf(event statemachine.Event) digester {
	d := digester(digestOffset)
	d.text(string(event))
	return d
}

func (d *digester) column(name, text string, null bool) {
	d.text(name)
	if null {
		d.byte(noText)
		return
	}
	d.text(text)
}

func (d *digester) text(s string) {
	for i := range len(s) {
		d.byte(s[i])
	}
	d.byte(endOfText)
}

func (d *digester) byte(b byte) {
	*d ^= digester(b)
	*d *= digestPrime
}

func (d *digester) sum() Digest {
	if *d == 0 {
		return 1
	}
	return Digest(*d)
}
