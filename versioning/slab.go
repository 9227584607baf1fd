package versioning

// A slab allocates values in bulk. The zero value is an empty slab.
type slab[T any] struct{ spare []T }

func newSlab[T any](n int) slab[T] { return slab[T]{make([]T, n)} }

// next returns a zero value.
func (s *slab[T]) next() *T { return &s.take(1)[:1][0] }

// take returns an empty slice with room for n values.
func (s *slab[T]) take(n int) []T {
	if n > len(s.spare) {
		s.spare = make([]T, max(n, 64))
	}
	taken := s.spare[:0:n]
	s.spare = s.spare[n:]
	return taken
}
