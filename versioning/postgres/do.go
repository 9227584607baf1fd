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
// Concurrent calls share transactions. A call that comes alone does not wait for others, and its
// batch runs in the caller's goroutine. While batches run, the next one waits until it is as large
// as all of them together, but at most two milliseconds if there is room for another.
// Calls for one entity are made in their order. Do takes up to four connections of the pool at
// a time. A batch that waits for a locked row holds up the calls in it, and later calls for
// their entities; set lock_timeout on the role to limit that: then only the calls fail whose
// row is locked. The values of the contexts do not reach the pool if several calls share a
// transaction.
//
// Do refuses the context of an HTTP handler that got a transaction from package
// gateway/postgres: the change would not be part of it. Such handlers need the gateway's
// backend without transactions (Backend.WithoutTransaction).
//
// If the context ends while the call waits for the batches before it, Do returns the context's
// error, and nothing was changed. If PostgreSQL rolls the transaction back because of a
// deadlock or a serialization failure, Do tries again a few times; if that does not help, or
// lock_timeout has passed, nothing was changed either. Any other error matches
// [versioning.ErrFateUnknown], and Do does not retry: also if the context ends once the call's
// batch has started, even if that still waits for a connection. The causes are Infrastructure
// or Fatal; see [versioning.CauseOf].
//
// After ErrFateUnknown, the changes may still be made a little later, so Data and Set must not
// be altered. Applied and Duplicate are final. The others say what was true when the changes
// were judged; if an earlier attempt ended with ErrFateUnknown, ask again a little later.
func (s *Store) Do(ctx context.Context, changes ...versioning.Change) (versioning.Outcome, error) {
	r := &versioning.Record{Direct: true, Changes: slices.Clone(changes), Origin: versioning.Origin{Offset: rand.Int64()}, Timestamp: time.Now()}
	s.Prepare(r)
	return s.calls.do(ctx, r)
}

// Deliver makes changes like Do, for a caller who can't handle a refusal, such as the handler
// of a job whose result must not be lost. What can't be made is kept, as for a record of a
// topic: Early is parked, and Rejected and Diverged become dead letters, which [Store.Redrive]
// judges again without calling its decode function. They have the topic
// [versioning.DeliveryTopic], which [Store.CopyDeadLetters] does not copy.
//
// Delivering the same changes again finds what was kept: Deliver returns the outcome that it
// has. Changes are the same if they have the same message IDs or expected versions, and ask
// for the same.
func (s *Store) Deliver(ctx context.Context, changes ...versioning.Change) (versioning.Outcome, error) {
	r := versioning.NewDelivery(changes, time.Now(), rand.Int64(), s.Prepare)
	r.Value = preparedOf(r).by.encodeDelivery(r)
	return s.calls.do(ctx, r)
}
