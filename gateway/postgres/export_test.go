package postgres

import "github.com/pawl-go/pawl/gateway"

// StoreAll stores responses in one statement, as runs without transactions do that end at the
// same time, and returns the error of each.
func (b *Backend) StoreAll(keys []gateway.Key, responses []string) []error {
	batch := make([]*storing, len(keys))
	for i, key := range keys {
		batch[i] = &storing{id: key.ID(), response: []byte(responses[i]), done: make(chan struct{})}
	}
	b.shared.store(batch)
	errs := make([]error, len(batch))
	for i, st := range batch {
		errs[i] = st.err
	}
	return errs
}

// SweepSQL is the statement of a sweep in schema pawl.
const SweepSQL = sweepSQL
