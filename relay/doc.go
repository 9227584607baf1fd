// Package relay publishes to Kafka what transitions emit.
//
// A transition emits a message by calling [statemachine.Firing.Emit]. The store writes it to an
// outbox in the transaction that makes the transition, so there is a message if and only if
// there was the transition. A [Relay] takes messages from the outbox, publishes them, waits
// until all in-sync replicas have them, and deletes them. A worker (package consumer) runs a
// relay by default. A relay can also run alone, in any number of processes.
//
// # Order and repeats
//
// Messages of an entity to one topic with the same key (by default, the entity's) are published
// in the order in which its transitions emitted them. Between topics, keys and entities there
// is no order, as in Kafka.
//
// Each message is published at least once. After a crash of a relay, of a broker or of
// PostgreSQL, messages that were published and not yet deleted are published again: with the
// same ID, and after their first occurrence, so first occurrences are in order. A consumer that
// is itself a Pawl recognizes the repeats by their IDs.
//
// There is one exception. A broker may refuse a batch of messages and take the next one. The
// relay then makes unsent messages of those that were overtaken (see below). If it dies or loses
// its lanes before it has done that, the next relay sends the refused messages again, and the
// later ones after them. If the broker now takes what it has refused, the first occurrence of a
// refused message comes after that of a later one. With Config.TransactionalID, readers of
// committed records never see that.
//
// An outbox has 16 lanes. Each entity is always in the same one, and each lane belongs to one
// relay at a time. Relays that come and go share the lanes by themselves. A relay that does not
// know that it has lost its lanes (it was frozen or cut off) may still send what it had read:
// messages that the new owner publishes too, in the same order. So at worst it repeats some. It
// never sends a message before an earlier one of the entity.
//
// # Headers
//
// Messages have the headers of CloudEvents' Kafka binding, in binary mode: ce_specversion,
// ce_id, ce_source, ce_type (the event that made the transition), ce_time (the time of the
// record that made it) and content-type, if it is known. The ID is
// "machine/entity/version/index"; see [versioning.Emitted.ID]. Headers that the transition has
// set follow.
//
// # Trouble
//
// If no broker answers, or too few replicas are in sync, the relay retries for as long as it
// takes. Messages to a topic that does not exist, or that the relay may not write to, wait for
// Config.Patience. Meanwhile they hold up their lanes, and only these, because later messages
// of an entity must not overtake earlier ones. What can never be published (it is too large
// for its topic, or still waits after Patience) becomes an unsent message, which the store
// lists and sends again on request: see Unsent and Resend of the store. The lane goes on without
// it. A message is unsent with reason OVERTAKEN if it failed while a later message of its entity
// to the same topic had arrived.
//
// A row of the outbox that can't be read, because it is damaged or a newer build has written it,
// holds up its lane only.
//
// [Relay.Health] says what is wrong, as do the logs, without the contents of messages.
//
// # Once on the wire
//
// With Config.TransactionalID, each lane is published in Kafka transactions, which also record
// which packs of the outbox they have published. A new owner of a lane makes Kafka refuse what
// the former one may still try, reads that record and deletes those packs without sending them
// again. So a reader with isolation.level=read_committed sees each message exactly once,
// whatever is killed. That holds as long as PostgreSQL keeps what it has committed, and Kafka
// the record: for offsets.retention.minutes (a week by default) after the last transaction,
// and while the topic of its first message exists.
//
// That costs: readers see a message when its transaction is committed, some milliseconds
// later. Each lane has a separate client and transaction, with smaller batches, and waits for
// Kafka and for a durable deletion in PostgreSQL, one after the other. A relay that dies with
// an open transaction holds up readers of committed records until the lane's new owner has
// ended it, or for a minute. And a message that fails aborts its transaction, so that the others
// are sent again. The relay needs the rights to write the transactional IDs and to read the
// groups that begin with TransactionalID, and to read its topics.
package relay
