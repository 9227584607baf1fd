package statemachine

// bitset is a set of small integers.
type bitset []uint64

// newBitsets returns n empty sets of integers below size, in one allocation.
func newBitsets(n, size int) []bitset {
	words := (size + 63) / 64
	backing := make([]uint64, n*words)
	sets := make([]bitset, n)
	for i := range sets {
		sets[i] = backing[i*words : (i+1)*words : (i+1)*words]
	}
	return sets
}

func (b bitset) add(i uint16)      { b[i/64] |= 1 << (i % 64) }
func (b bitset) has(i uint16) bool { return b[i/64]&(1<<(i%64)) != 0 }

// fill adds every integer that b has room for.
func (b bitset) fill() {
	for i := range b {
		b[i] = ^uint64(0)
	}
}

// intersect removes from b what other lacks, and reports whether b changed.
func (b bitset) intersect(other bitset) bool {
	changed := false
	for i, word := range other {
		changed = changed || b[i]&^word != 0
		b[i] &= word
	}
	return changed
}

// union adds the members of other to b.
func (b bitset) union(other bitset) {
	for i, word := range other {
		b[i] |= word
	}
}
