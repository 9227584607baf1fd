package postgres

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/pawl-go/pawl/versioning"
)

// Do makes changes for a caller that waits for the result, such as an HTTP handler. They
// take the same path as those of a record: all of them are made in one transaction, or none,
// and their outcome is true once Do has returned it. Give each change a message ID, the same
// one for each attempt: then an attempt after the first changes nothing and returns Duplicate.
// Changes without one are new with each call, unless they expect a version.
//
// If the changes can't be made, Do writes nothing, and the outcome has the reason: Early is
// not parked, and Rejected and Diverged become no dead letters. Changes that are made release
// records that are parked for their entities, as always.
//
// Concurrent calls share transactions. A call that comes alone does not wait for others.
// Calls for one entity are made in their order. Do takes up to four connections of the pool at
// a time. A batch that waits for a locked row holds up the calls in it, and later calls for
// their entities; set lock_timeout on the role to limit that. The values of the contexts do not
// reach the pool if several calls share a transaction.
//
// If the context ends before the transaction has begun, Do returns the context's error, and
// nothing was changed. Any other error matches [versioning.ErrFateUnknown] and has the cause
// Infrastructure or Fatal; see [versioning.CauseOf]. Do does not retry. After such an error,
// the changes may still be made a little later, so Data and Set must not be altered. Applied
// and Duplicate are final. The others say what was true when the changes were judged; if an
// earlier attempt ended with ErrFateUnknown, ask again a little later.
func (s *Store) Do(ctx context.Context, changes ...versioning.Change) (versioning.Outcome, error) {
	r := &versioning.Record{Direct: true, Changes: slices.Clone(changes), Origin: versioning.Origin{Offset: rand.Int64()}, Timestamp: time.Now()}
	s.Prepare(r)
	return s.calls.do(ctx, r)
}
