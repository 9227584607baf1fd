package otel

import (
	"strings"
	"sync"
)

// other stands for the names that exceed a limit.
const other = "other"

// maxSeries limits the series of a metric. The counter of records, whose labels multiply, stops
// telling machines, events and tasks apart at spareSeries. Its last series, one for each verdict,
// do not tell reasons apart.
const (
	maxSeries   = 1000
	spareSeries = 800
	lastSeries  = 10
)

// names are the first names of a kind. All others are "other". It is safe for concurrent use.
type names struct {
	limit int

	mu   sync.Mutex
	seen map[string]string
}

func newNames(limit int) *names { return &names{limit: limit, seen: make(map[string]string)} }

// bound returns name or, if there are too many names already, "other".
func (n *names) bound(name string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if known, ok := n.seen[name]; ok {
		return known
	}
	if len(n.seen) >= n.limit {
		return other
	}
	name = strings.Clone(name) // it may be a part of a record, which must not be kept
	n.seen[name] = name
	return name
}
