package main

import "slices"

// mutations are planted in this order. Each text is short code without comments, so that
// it stays unique when the code around it changes.
var mutations = slices.Concat([]mutation{
	// The machine.
	{
		file: "statemachine/validate.go", text: `v.checkTerminalExits()`, mutated: ``,
		why: "a machine whose terminal states can be left compiles",
		pkg: "./statemachine", tests: ".",
	},
	{
		file: "statemachine/graph.go", text: `case g.future[state].has(event):`, mutated: `case g.future[state].has(event) && !g.past[state].has(event):`,
		why: "an event that was taken and is still ahead counts as a duplicate",
		pkg: "./statemachine", tests: ".",
	},
	{
		file: "statemachine/identity.go", text: `g.future[a.to].has(e)`, mutated: `g.legal[a.to].has(e)`,
		why: "the identity proof overlooks an event that occurs again some steps later",
		pkg: "./statemachine", tests: ".",
	},

	// Verdicts.
	{
		file: "versioning/fold.go", text: `outcome.Verdict > worst.Verdict`, mutated: `outcome.Verdict > worst.Verdict || outcome.Verdict == Applied`,
		why: "a record is applied in part because its last change is legal",
		pkg: "./versioning/versioningtest", tests: ".",
	},
	{
		file: "versioning/fold.go", text: "if worst.Verdict > Applied {\n\t\tf.undo()", mutated: `if worst.Verdict > Applied {`,
		why: "the steps of a refused record stay",
		pkg: "./versioning/versioningtest", tests: ".",
	},
	{
		file: "versioning/judge.go", text: `case step.Event != c.Event:`, mutated: `case false:`,
		why: "another event at a past version counts as a duplicate and is lost",
		pkg: "./versioning/versioningtest", tests: ".",
	},

	// Parked records.
	{
		file: "versioning/park.go", text: `slices.BinarySearchFunc(e.waiting, w, func(a, b *waiting) int { return a.rank - b.rank })`,
		mutated: `slices.BinarySearchFunc(e.waiting, w, func(a, b *waiting) int { return b.rank - a.rank })`,
		why:     "parked records are judged in the wrong order",
		pkg:     "./versioning/versioningtest", tests: ".",
	},
	{
		file: "versioning/park.go", text: `list[i+1:]...)`, mutated: `list[min(i+2, len(list)):]...)`,
		why: "a parked record behind one that moves is forgotten",
		pkg: "./versioning/versioningtest", tests: ".",
	},
	{
		file: "versioning/park.go", text: `len(e.waiting) >= limit`, mutated: `len(e.waiting) > limit`,
		why: "more records than Table.MaxParked wait for an entity",
		pkg: "./versioning/versioningtest", tests: ".",
	},

	// Identity: origins, message IDs, digests.
	{
		file: "versioning/record.go", text: `&& o.TopicID == p.TopicID`, mutated: ``,
		why: "a record of a re-created topic counts as the one that had its offset",
		pkg: "./versioning", tests: ".",
	},
	{
		file: "versioning/record.go", text: `o.Partition == p.Partition &&`, mutated: ``,
		why: "a record of another partition counts as the one at the same offset",
		pkg: "./versioning", tests: ".",
	},
	{
		file: "versioning/plan.go", text: `s.Digest == 0 && s.Event`, mutated: `s.Event`,
		why: "another message with a known ID and the same event counts as a duplicate and is lost",
		pkg: "./versioning/versioningtest", tests: ".",
	},
	{
		file: "versioning/digest.go", text: "d.byte(s[i])\n\t}\n\td.byte(endOfText)", mutated: "d.byte(s[i])\n\t}",
		why: "changes whose columns differ have the same digest",
		pkg: "./versioning/postgres", tests: "^TestDigest$",
	},

	// Limits.
	{
		file: "versioning/prepare.go", text: `len(r.Changes) > maxChanges`, mutated: `len(r.Changes) > maxChanges+1`,
		why: "a record with too many changes is not refused",
		pkg: "./versioning", tests: ".",
	},
	{
		file: "versioning/split.go", text: `for i := 1; i < len(r.Changes); i++`, mutated: `for i := 2; i < len(r.Changes); i++`,
		why: "records that share an entity are applied at the same time",
		pkg: "./versioning", tests: "^TestSplit$",
	},

	// Commits.
	{
		file: "consumer/life.go", text: `last.Offset + 1`, mutated: `last.Offset + 2`,
		why: "the offset of a record that nobody has read is committed, so it is lost",
		pkg: "./consumer", tests: "^TestSettle$",
	},
	{
		file: "consumer/batch.go", text: `Verdict != versioning.Undecided`, mutated: `Verdict >= versioning.Undecided`,
		why: "offsets of records without a verdict are committed, so they are lost",
		pkg: "./consumer", tests: "^TestSettle$",
	},
	{
		file: "consumer/partitions.go", text: `if stuck[s.partition] {`, mutated: `if false {`,
		why: "a later part of the batch is committed past a record without a verdict",
		pkg: "./consumer", tests: "^TestSettle$",
	},
	{
		file: "consumer/partitions.go", text: `delete(p.lives, partition{topic, id})`, mutated: `_, _ = topic, id`,
		why: "offsets of a lost partition are committed, behind its new owner",
		pkg: "./consumer", tests: "^TestNoCommitAfterPartitionsAreLost$",
	},
	{
		file: "consumer/apply.go", text: `tenureOf(s.partition) != s.tenure`, mutated: `tenureOf(s.partition) == 0 && s.tenure == 0`,
		why: "a partition that was lost is applied again and again",
		pkg: "./consumer", tests: "^TestPartitionComesBackWhileTheDatabaseIsDown$",
	},

	// Marks.
	{
		file: "consumer/begin.go", text: `case group.known && begin > mark,`, mutated: `case group.known && begin < mark,`,
		why: "a worker continues at the committed offset after the database has lost records",
		pkg: "./consumer", tests: "^TestBackToMark$",
	},
	{
		file: "consumer/begin.go", text: `p.Metadata != nil && *p.Metadata == `, mutated: `p.Metadata == nil || "" != `,
		why: "a group that somebody has moved forward goes back to the mark",
		pkg: "./consumer", tests: "^TestMovedForward$",
	},
	{
		file: "versioning/postgres/marks.go", text: `CASE WHEN now > last THEN greatest(now, "offset") ELSE "offset" END`, mutated: `"offset"`,
		why: "a worker that was replaced sets the mark of its successor back",
		pkg: "./versioning/postgres", tests: "^TestConformance$/./^marks$",
	},
	{
		file: "versioning/postgres/marks.go", text: `case now != server, behind:`, mutated: `case now != server:`,
		why: "a server that has lost marks goes unnoticed",
		pkg: "./versioning/postgres", tests: "^TestConformance$/./^marks$",
	},

	// Writes and their guards.
	{
		file: "versioning/postgres/rows_write.go", text: ` AND t.%[4]s = u.from_version`, mutated: ``,
		why: "a row that another writer has moved is overwritten",
		pkg: "./versioning/postgres", tests: "^TestSetByHand$",
	},
	{
		file: "versioning/postgres/rows_write.go", text: ` AND t.%[3]s::text = u.from_state`, mutated: ``,
		why: "a row whose state somebody has set by hand is overwritten",
		pkg: "./versioning/postgres", tests: "^TestSetByHand$",
	},
	{
		file: "versioning/postgres/write.go", text: `(count(*) = $%d)`, mutated: `(count(*) <= $%d)`,
		why: "a guard that finds too few rows lets the transaction commit",
		pkg: "./versioning/postgres", tests: "^TestMovedInBetween$",
	},
	{
		file: "versioning/postgres/write.go", text: "if c.blind == nil {\n\t\tw.stepsNotDead(c)", mutated: `if c.blind == nil {`,
		why: "a record is applied although another worker has made it a dead letter",
		pkg: "./versioning/postgres", tests: "^TestDeadLetteredInBetween$",
	},
	{
		file: "versioning/postgres/write.go", text: `w.notApplied(len(c.plan.Park)`, mutated: `w.notApplied(min(0, len(c.plan.Park))`,
		why: "a record is parked although another worker has applied it",
		pkg: "./versioning/postgres", tests: "^TestDecidedInBetween$",
	},
	{
		file: "versioning/postgres/stored.go", text: `w.guarded(len(settled), w.store.schema.sql(sql), []any{at.ids, at.partitions, at.offsets, at.scopes})`,
		mutated: `w.batch.Queue(w.store.schema.sql(sql), at.ids, at.partitions, at.offsets, at.scopes)`,
		why:     "a parked record that expires while it is released is applied and also becomes a dead letter",
		pkg:     "./versioning/postgres", tests: "^TestExpiredInBetween$",
	},
	{
		file: "versioning/postgres/fate.go", text: `locks[fateOf(&d.Record.Origin)] = true`, mutated: `locks.share(&d.Record.Origin)`,
		why: "two workers give one record two verdicts at the same moment",
		pkg: "./versioning/postgres", tests: "^TestOneFate$",
	},
	{
		file: "versioning/postgres/scope.go", text: `scope == s.scope(r) || r.Err != nil || strings.Contains(scope, ",")`, mutated: `true`,
		why: "a dead letter of one machine keeps a record from another machine",
		pkg: "./versioning/postgres", tests: "^TestTwoWorkersOfOneTopic$",
	},

	// Altered tables.
	{
		file: "versioning/postgres/altered.go", text: `w.batch.Queue(t.fingerprint.guard(w.store.schema))`, mutated: `_ = t.fingerprint.guard(w.store.schema)`,
		why: "records are decided by rules of a table that was altered meanwhile",
		pkg: "./versioning/postgres", tests: "^TestAlteredMeanwhile$",
	},

	// Errors of PostgreSQL.
	{
		file: "versioning/postgres/cause.go", text: `"40": versioning.Infrastructure,`, mutated: `"40": versioning.Data,`,
		why: "a deadlock makes dead letters of good records",
		pkg: "./versioning/postgres", tests: "TestCauseOf$",
	},
	{
		file: "versioning/postgres/refusals.go", text: `count > table.MaxRefused`, mutated: `count > table.MaxRefused+1`,
		why: "more records than Table.MaxRefused become dead letters for one reason",
		pkg: "./versioning/postgres", tests: "^TestMaxRefused$",
	},

	// Batches that are too large or refused.
	{
		file: "versioning/postgres/apply.go", text: `done += size {`, mutated: `done += size + 1 {`,
		why: "a record between two parts of a batch gets no verdict",
		pkg: "./versioning/postgres", tests: "^TestLargeBatch$",
	},

	// Sweeps.
	{
		file: "versioning/postgres/parked.go", text: `t.%[3]s <> p.seen_version`, mutated: `t.%[3]s < p.seen_version`,
		why: "a parked record waits forever if something else has moved its entity",
		pkg: "./versioning/postgres", tests: "^TestSweep$",
	},
	{
		file: "versioning/postgres/parked_expire.go", text: `SELECT min(at)`, mutated: `SELECT max(at)`,
		why: "parked records expire although a partition they wait for was not read",
		pkg: "./versioning/postgres", tests: "^TestClockStandsStill$",
	},

	// Several writes to one row, and rows that depend on each other.
	{
		file: "versioning/postgres/levels.go", text: `return max(p.inserts, p.updates-1, index.later(p.updates))`,
		mutated: `return max(p.updates-1, index.later(p.updates))`,
		why:     "a row gives up a unique value after another one has taken it, which is refused",
		pkg:     "./versioning/postgres", tests: "^TestInTheOrderOfTheLog$",
	},
	{
		file: "versioning/postgres/acceptable.go", text: `len(m[1]) < precision-scale`, mutated: `len(m[1]) <= precision-scale`,
		why: "a number that rounding makes too large goes unnoticed because a later step sets the column again",
		pkg: "./versioning/postgres", tests: "^TestTakes$",
	},
}, computing, direct, memory, timers, messages, jobs, gateway, redis, codecs, definitions, replays)
