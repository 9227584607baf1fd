// Package postgres keeps the entities of state machines in PostgreSQL tables. It applies
// each record to them exactly once, even if the record is delivered again, out of order,
// or to two workers at the same time.
//
// [Open] checks a database and returns a [Store]. [Store.Prepare] makes a record ready,
// and [Store.Apply] settles a batch: it reads the rows of the entities, [versioning.Fold]
// judges the records, and Apply writes the plan in one transaction. When Apply returns,
// every record has a verdict that is true, and its offset may be committed. A batch
// usually takes two round trips, because the COMMIT goes out together with the writes:
// if a guarded write finds fewer rows than it needs, it fails on the server, and the
// COMMIT after it does not run.
//
// A store remembers what it has written lately. If that is all that a batch needs, with
// entities that are new, it takes one round trip. The guards prove that nobody has moved the
// rows since, or else Apply reads them.
//
// If another writer moves rows between reading and writing, that is neither an error nor
// a duplicate: Apply reads the rows again and judges the batch again. If PostgreSQL
// refuses a record (a constraint, a trigger, a value out of range), Apply writes the
// rows record by record, in their order, each behind a savepoint, and rejects that
// record alone.
//
// Several steps of one entity reach its row in one write, unless the table could tell
// the difference. If the table has triggers or row security, or if several of the steps
// set columns that a CHECK, a unique index or a foreign key covers, Apply writes the
// steps one at a time; it still writes the steps of different entities together.
// [Store.Stepwise] lists the tables that have such rules. So constraints and triggers
// see what they would see if each record had a separate transaction. Only a trigger that
// looks at other rows can notice the batches.
//
// If the machine has functions, Apply reads the columns that they take with the rows, and
// writes those that they change. Such a write also fails if anybody has written the row
// since it was read, even without raising the version: the functions have computed with
// what was in it. If the database computes one of the columns, such as a generated one,
// Apply makes one step of the entity at a time, and reads the row again in between.
//
// A verdict is as durable as the user asked for: on a server with synchronous standbys,
// the transaction of every batch waits for them, even if it writes nothing, because the
// rows that prove a duplicate may not have reached them yet.
//
// A worker that parks a record and another that moves its entity at the same moment do
// not see each other. [Store.Sweep], or the next record of the entity, finds what was
// left behind.
//
// # Tables and rights
//
// The entity table is the application's: [Table] says what it needs. History, parked
// records and dead letters are in schema pawl, which package migrations/migrate creates. The
// role of a worker needs no more than
//
//	GRANT SELECT, INSERT, UPDATE ON orders TO worker;
//	GRANT USAGE ON SCHEMA pawl TO worker;
//	GRANT SELECT ON pawl.goose_db_version TO worker;
//	GRANT SELECT, INSERT ON pawl.transitions TO worker;
//	GRANT SELECT, INSERT, UPDATE, DELETE ON pawl.parked, pawl.dead_letters, pawl.timers, pawl.rearmed TO worker;
//	GRANT SELECT, INSERT, UPDATE ON pawl.marks, pawl.caught_up, pawl.tables, pawl.machines TO worker;
//
// If a machine has functions, so that they may emit messages, a worker with its relay also
// needs these. Open asks for SELECT and INSERT on table outbox and for USAGE on the sequence.
// [Store.HoldLanes] asks for the others but DELETE on table unsent, which [Store.Resend] needs.
//
//	GRANT SELECT, INSERT, DELETE ON pawl.outbox TO worker;
//	GRANT USAGE ON SEQUENCE pawl.outbox_id_seq TO worker;
//	GRANT SELECT, INSERT, UPDATE, DELETE ON pawl.unsent TO worker;
//	GRANT SELECT, TRUNCATE ON pawl.outbox_0, pawl.outbox_1, pawl.outbox_2, pawl.outbox_3 TO worker;
//	GRANT SELECT, TRUNCATE ON pawl.outbox_4, pawl.outbox_5, pawl.outbox_6, pawl.outbox_7 TO worker;
//
// With [Debezium], the worker needs SELECT, INSERT and DELETE on table outbox_events instead,
// and the others but INSERT until the outbox is empty, if it was used before.
//
// A machine's name stands for its table: an entity is known by its machine and key.
// So a machine has one table in a database, which pawl.tables remembers, and Open
// refuses a second one ([MachineError]). If several tables have the same machine, such
// as those of tenants that have a schema each, give each of them a framework schema
// too: migrate.UpIn creates it and [OpenIn] uses it, with the same rights. Such
// schemas share nothing.
//
// Parked records and dead letters are identified by their origin and the machine of
// their first change, so workers may consume the same topic for different
// machines of one database without taking each other's verdicts for their own. A record
// that can't be decoded belongs to all machines of the store. If it is delivered again
// and can be decoded by then, it is judged again.
//
// One record has one fate, even if two workers settle it at the same moment. A
// transaction that makes a record a dead letter holds an advisory lock of the record's
// partition exclusively until it ends. Others that settle records of the partition share
// that lock.
//
// # Messages
//
// What the functions of transitions emit is written in the transaction that makes the
// transition. By default it goes to table outbox: one row, a pack, for what one transaction
// sends to one lane. Each entity has one of 16 lanes. The IDs of the packs of a lane are in the
// order of each entity's transitions, because the row of an entity is locked when its
// messages are written. So whatever is visible in a lane can be published in that order:
// nothing that becomes visible later comes before it. A transaction that stays open holds up
// nothing.
//
// A relay (package relay) reads packs, publishes them and deletes them. VACUUM can't free their
// space while anybody holds a snapshot, so new packs go to another partition of the table
// every ten seconds, and [Store.TruncateOutbox] truncates the partitions that are empty. Lanes
// belong to relays by advisory locks; see [Store.HoldLanes]. Messages that the broker refuses
// for good are in table unsent: [Store.Unsent] lists them and [Store.Resend] sends them again.
//
// With Table.Outbox set to [Debezium], each message is a row of table outbox_events instead,
// which the same transaction inserts and deletes. Debezium reads it from the WAL. Its outbox
// event router (io.debezium.transforms.outbox.EventRouter) needs, besides its defaults:
//
//	table.include.list=pawl.outbox_events
//	skipped.operations=u,d,t
//	value.converter=io.debezium.converters.BinaryDataConverter
//	header.converter=org.apache.kafka.connect.storage.StringConverter
//	transforms.outbox.route.topic.replacement=${routedByValue}
//	transforms.outbox.route.tombstone.on.empty.payload=true
//	transforms.outbox.table.field.event.timestamp=timestamp
//	transforms.outbox.table.fields.additional.placement=ce_specversion:header,ce_id:header,ce_source:header,type:header:ce_type,ce_time:header,content_type:header:content-type,headers:header
//
// Debezium publishes at least once, with the same ce_id. The headers that a transition has set
// are one header, a JSON object. The table is empty, but VACUUM has to free its space.
//
// # Statements
//
// Values are always parameters. Identifiers and type names in the text of a statement
// come from the catalog, quoted. Functions that take arrays of any type are qualified: a
// function in the application's search_path that takes text[] would be a better match.
// (unnest of several arrays is syntax, not a name.) The search_path itself stays, for the
// triggers of the application's tables.
//
// What is read for each element of a batch is read by a subquery that PostgreSQL can't
// turn into a join: a scalar one, or a lateral one with OFFSET 0. It looks into the index
// once for each element, by all columns. A join that is planned while the tables are
// empty may look for the machine alone, and read all of its rows for each element.
package postgres
