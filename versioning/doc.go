// Package versioning decides what the records of a log do to entities: which of them
// move an entity forward, and which are duplicates, early, illegal or diverged. It does
// no I/O. Package versioning/postgres keeps the entities in PostgreSQL and writes what
// this package decides; versioningtest has a store in memory.
//
// A store reads a [View] of the entities of a batch, and [Fold] folds the records over
// it, in their order: each record is judged against the entities as the records before
// it left them. The resulting [Plan] holds a verdict for each record, and everything
// that one transaction has to write for these verdicts to be true.
//
// # Verdicts
//
//	verdict    when                                              what is written
//	Ignored    the record asks for no change                     nothing
//	Duplicate  it has taken effect already, and that is proven   nothing
//	Applied    the guarded UPDATE or INSERT took                 the row, one row of history a step
//	Early      not legal now, may be later                       the record is parked
//	Rejected   can never be legal                                the record is a dead letter
//	Diverged   its version was taken by a different event, or    the record is a dead letter
//	           its message ID by a different message
//
// A [Reason] says why. A record with several changes is all or nothing, and gets
// the least favourable of their verdicts.
//
// # What proves a duplicate
//
// By version: the change expects the version that its message saw. If the history says
// that the same event made the step after that version, the change has taken effect. If
// another event made it, writers have diverged. If a machine has an event that can make
// the same step twice, give each event its own version, or use message IDs.
//
// By message ID: the history of the entity knows the message. The ID comes from
// the change, or is the record's origin: the topic's UUID, the partition and the
// offset, which survive everything except a copy of the topic. An ID alone proves
// nothing: the history also keeps a [Digest] of what the message asked for, its event,
// columns and data. A record with a known ID is a duplicate if it is the record that made the
// step, or if its message asked for the same; or for the same event, if the step is
// older than digests. Otherwise two messages share one ID, and the record has diverged.
//
// By state alone, without history: only for machines whose definition proves
// that an event behind the state was taken ([ByState]).
//
// The past comes first: a proven duplicate stays one even if the row is gone, the
// machine has lost the event, or the table has lost a column. A row that is gone is not a
// new entity: a record that is not a duplicate is rejected, so a replay does not raise
// the dead.
//
// # Transitions that compute
//
// A transition may have functions over the entity's row and the event's data
// ([Change.Data]). The fold calls them on the row as the records before left it, and keeps
// what they compute in the store's form ([RowCodec]), so that a refused record leaves
// nothing behind.
//
// # Parked records
//
// A record that came too early waits beside its entity, and its offset is committed.
// When the entity moves, Fold judges the records that wait for it again, in the order in
// which they were parked, before the next record of the batch, until none of them moves
// anything. So a verdict depends on the order of the records only, not on where batches
// begin and end. A record that needs several entities waits for one of them at a time:
// the one that holds it up. [Split] keeps such entities in one list.
//
// # Errors
//
// An error of a store is never about a record. [CauseOf] tells trouble that may pass
// from errors that retrying cannot fix; so does errors.Is with [ErrInfrastructure] and
// [ErrFatal].
package versioning
