// Package versioning decides what the records of a log do to entities that live
// in PostgreSQL, and writes it, once, whatever is delivered again, out of order
// or by two workers at a time.
//
// [Open] checks a database and returns a [Store]. [Store.Prepare] makes a
// [Record] ready, [Store.Apply] settles a batch of them: it reads the rows of
// their entities, folds the records over them ([Fold], which does no I/O) and
// writes all that was decided in one transaction. When it has returned, every
// record has a verdict that is true, and its offset may be committed. That takes two
// round trips, as a rule: a guarded statement that takes fewer rows than it has to
// fails in the server, so the COMMIT goes out with the writes.
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
// the least favourable of their verdicts. A record that is refused by PostgreSQL
// (a constraint, a trigger, a value out of range) is rejected alone: the rows are
// written record by record then, in their order, each behind a savepoint.
//
// Several steps of one entity reach its row in one write, unless the table could tell:
// where it has triggers or row security, or where several of the steps set columns that
// a CHECK, a unique index or a foreign key is about, the steps are written one after the
// other, those of different entities together. [Store.Stepwise] says which tables have
// such things. So constraints and triggers see what they would see of one record a
// transaction; only a trigger that looks at other rows can tell that there are batches.
//
// An error of Apply is never about a record: [CauseOf] tells trouble that passes
// from errors that retrying cannot fix. Rows that were moved by someone else between
// reading and writing are no error and no duplicates: they are read again, and
// the batch is folded again.
//
// A verdict is as durable as the user asked for: where the server has synchronous
// standbys, the transaction of every batch waits for them, also when it writes
// nothing, because the rows that prove a duplicate may not have reached them yet.
//
// # What proves a duplicate
//
// By version: the change expects the version that its message saw. If the
// history tells that the same event made the step after that version, the change
// has taken effect; if another event did, writers have diverged. Give each event
// of a machine that can make the same step twice its own version, or go by
// message ID.
//
// By message ID: the history of the entity knows the message. The ID comes from
// the change, or is the record's origin: the topic's UUID, the partition and the
// offset, which survive everything but a copy of the topic. An ID alone is no proof,
// though: the history also keeps a digest of what the message asked for, its event and
// columns. A record with a known ID is a duplicate if it is the record that made the
// step, or if its message asked for the same; or for the same event, where the step is
// older than digests. Otherwise two messages have one ID, and the record has diverged.
//
// By state alone, without history: only for machines whose definition proves
// that an event behind the state was taken ([ByState]).
//
// The past is asked first: a proven duplicate is one even if the row is gone or
// the machine has lost the event. A row that is gone is no new entity: what is
// not a duplicate is rejected, and a replay does not raise the dead.
//
// # Parked records
//
// A record that came too early waits beside its entity, in pawl.parked, and its
// offset is committed. When the entity moves, the records that wait for it are
// judged again in the order in which they were parked, before the next record of
// the batch and in the same transaction, until none of them moves anything. So
// what becomes of records depends on their order only, not on where batches
// begin and end. A record that needs several entities waits for one of them at a
// time: the one that holds it up. [Store.Split] keeps such entities in one list.
//
// A worker that parks a record and another that moves its entity at the same
// moment do not see each other. [Store.Sweep], or the next record of the entity,
// finds what was left behind.
//
// # Tables and rights
//
// The entity table is the application's: see [Table] for what it has to have.
// History, parked records and dead letters are in schema pawl, which package
// migrations/migrate creates. The role of a worker needs no more than
//
//	GRANT SELECT, INSERT, UPDATE ON orders TO worker;
//	GRANT USAGE ON SCHEMA pawl TO worker;
//	GRANT SELECT ON pawl.goose_db_version TO worker;
//	GRANT SELECT, INSERT ON pawl.transitions TO worker;
//	GRANT SELECT, INSERT, UPDATE, DELETE ON pawl.parked, pawl.dead_letters TO worker;
//	GRANT SELECT, INSERT, UPDATE ON pawl.marks, pawl.caught_up, pawl.tables TO worker;
//
// A machine's name stands for its table: an entity is known by its machine and key.
// So a machine has one table in a database, which pawl.tables remembers, and Open
// refuses a second one ([MachineError]). Where several tables have the same machine,
// such as those of tenants that have a schema each, give each of them a schema of the
// framework's too: migrate.UpIn creates it, [OpenIn] uses it, and the rights are
// the same ones there. Such schemas share nothing.
//
// Parked records and dead letters are known by their origin and the machine of
// their first change, so workers may consume the same topic for different
// machines of one database: neither takes the other's verdict for its own. A record that
// can't be decoded belongs to all machines of the store. When it is delivered again and
// can be decoded by now, that redrives it.
//
// One record has one fate, also where two workers settle it at the same moment: who makes
// a dead letter of it holds an advisory lock of its partition exclusively, which all
// others share, until the end of the transaction.
package versioning
