package replay

import "strings"

// Rebuilt is what Rebuild has done.
type Rebuilt struct{ Refused int64 }

func (r *Rebuilt) write(*strings.Builder) {}
