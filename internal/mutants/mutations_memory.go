package main

// memory are mistakes in what the store relies on instead of reading it.
var memory = []mutation{
	{
		file: "versioning/postgres/write.go", text: `w.sameServer(c.server)`, mutated: ``,
		why: "rows are recalled after a failover that has lost them, and a message takes effect twice",
		pkg: "./versioning/postgres", tests: "^TestRecallIsWrong$",
	},
	{
		file: "versioning/postgres/rows_write.go", text: `w.blind != nil || t.rows.hasFields()`, mutated: `t.rows.hasFields()`,
		why: "a recalled row was deleted, created anew and moved to the same version by another message",
		pkg: "./versioning/postgres", tests: "^TestRecallIsWrong$",
	},
	{
		file: "versioning/postgres/write.go", text: `w.nonePast(c.blind, c.moves)`, mutated: ``,
		why: "an entity that has only a history is created again",
		pkg: "./versioning/postgres", tests: "^TestRecallIsWrong$",
	},
	{
		file: "versioning/postgres/write.go", text: `w.noneParked(c.moves)`, mutated: ``,
		why: "an entity moves and its parked records stay behind",
		pkg: "./versioning/postgres", tests: "^TestRecallIsWrong$",
	},
	{
		file: "versioning/postgres/write.go", text: "w.noneParked(c.moves)\n\t\tw.stepsNotDead(c)", mutated: "w.stepsNotDead(c)\n\t\tw.noneParked(c.moves)",
		why: "a parked record expires between the guards, and is applied although it is a dead letter",
		pkg: "./versioning/postgres", tests: "^TestRecallBecomesWrong$",
	},
	{
		file: "versioning/postgres/room.go", text: `return append((*into)[:0], buf...)`, mutated: `return (*into)[:len(buf)]`,
		why: "a buffer of the connection takes over a statement without what it has so far",
		pkg: "./versioning/postgres", tests: "^TestGrow$",
	},
	{
		file: "versioning/postgres/not_dead.go", text: `if c.blind == nil`, mutated: `if true`,
		why: "a dead letter of another decoder stays although its record is applied",
		pkg: "./versioning/postgres", tests: "^TestUndecodableOfOthers$",
	},
	{
		file: "versioning/postgres/memory.go", text: `slices.BinarySearch(m.messages, message)`, mutated: `slices.BinarySearch(m.messages[:0], message)`,
		why: "a message takes effect twice, because the row that it has moved is not read",
		pkg: "./versioning/postgres", tests: "^TestRecallIsWrong$",
	},
	{
		file: "versioning/postgres/memory.go", text: `k.Exists && (!had.hasFirst || had.hasMore)`, mutated: `false`,
		why: "a message takes effect twice, because not all messages that have moved the row were known",
		pkg: "./versioning/postgres", tests: "^TestRecallIsWrong$",
	},
	{
		file: "versioning/postgres/memory.go", text: `if m.server != server {`, mutated: `if false {`,
		why: "a late transaction makes rows known that were written on another server",
		pkg: "./versioning/postgres", tests: "^TestMemoryOfAnotherServer$",
	},
	{
		file: "versioning/postgres/recall.go", text: `o.Verdict > versioning.Applied`, mutated: `false`,
		why: "a record is rejected for a state that the row has no more",
		pkg: "./versioning/postgres", tests: "^TestHolds$",
	},
	{
		file: "versioning/postgres/hashes.go", text: `array_position(known.hashes, NULL) > 0 OR`, mutated: ``,
		why: "a message takes effect twice, because its step has no hash",
		pkg: "./versioning/postgres", tests: "^TestHashes$",
	},
	{
		file: "versioning/postgres/hashes.go", text: `had.hasMore, r.askHistory = true, true`, mutated: `had.hasMore = false`,
		why: "a message takes effect twice, because its step is not among the first",
		pkg: "./versioning/postgres", tests: "^TestHashes$",
	},
	{
		file: "versioning/postgres/hashes.go", text: `CASE WHEN h.version > 0 THEN h.message_hash END`, mutated: `h.message_hash`,
		why: "a message takes effect twice, because there are steps below version 1, and not all of the first were looked at",
		pkg: "./versioning/postgres", tests: "^TestHashes$",
	},
	{
		file: "versioning/postgres/lookups.go", text: `!had.hasFirst || had.mayHave(c)`, mutated: `!had.hasFirst`,
		why: "a parked record makes its step twice, because its message was not asked for when hashes were read",
		pkg: "./versioning/postgres", tests: "^TestHashesOfParked$",
	},
	{
		file: "versioning/postgres/lookups.go", text: `past{hasFirst: true, hasMore: true}`, mutated: `past{hasFirst: true, hasMore: had.hasMore}`,
		why: "a parked record makes its step twice, because that has a late version although there are few steps",
		pkg: "./versioning/postgres", tests: "^TestHashesOfParked$",
	},
	{
		file: "versioning/postgres/recall.go", text: `!r.store.hasTriggers() &&`, mutated: ``,
		why: "a trigger replaces a row that was taken for absent",
		pkg: "./versioning/postgres", tests: "^TestRecallIsWrong$",
	},
	{
		file: "versioning/postgres/memory.go", text: `before = slices.Sorted(slices.Values(had.hashes))`, mutated: `before = nil`,
		why: "a message takes effect twice, because a store has read its hash and does not remember it",
		pkg: "./versioning/postgres", tests: "^TestHashesAreRemembered$",
	},
	{
		file: "versioning/postgres/hashes.go", text: `if id != c.MessageID {`, mutated: `if false {`,
		why: "a message takes effect twice, because the hash of its former ID was not looked for",
		pkg: "./versioning/postgres", tests: "^TestHashOfFormerID$",
	},
	{
		file: "versioning/postgres/hashes.go", text: `2*needed > found`, mutated: `false`,
		why: "a replay looks at hashes in vain",
		pkg: "./versioning/postgres", tests: "^TestHashesInReplay$",
	},
}
