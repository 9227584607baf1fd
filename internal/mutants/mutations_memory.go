package main

// memory are mistakes in what the store relies on instead of reading it.
var memory = []mutation{
	{
		file: "versioning/postgres/recall.go", text: `c.onServer = s.recalls.server`, mutated: `_ = s.recalls.server`,
		why: "rows are recalled after a failover that has lost them, and a message takes effect twice",
		pkg: "./versioning/postgres", tests: "^TestRecallIsWrong$",
	},
	{
		file: "versioning/postgres/recall.go", text: `		return tx.server == s.recalls.server, nil`, mutated: `		return true, nil`,
		why: "rows are recalled after a failover if others of the batch are read",
		pkg: "./versioning/postgres", tests: "^TestRecallIsWrong$",
	},
	{
		file: "versioning/postgres/memory.go", text: `slices.Contains(m.messages, message)`, mutated: `slices.Contains(m.messages[:0], message)`,
		why: "a message takes effect twice, because the row that it has moved is not read",
		pkg: "./versioning/postgres", tests: "^TestRecallIsWrong$",
	},
	{
		file: "versioning/postgres/recall.go", text: `c.recalled = s.reader.recalled(c)`, mutated: `_ = s.reader.recalled(c)`,
		why: "an entity moves and its parked records stay behind",
		pkg: "./versioning/postgres", tests: "^TestRecallIsWrong$",
	},
	{
		file: "versioning/postgres/recall.go", text: `c.unread = s.records`, mutated: `_ = s.records`,
		why: "a dead letter of another decoder stays although its record is applied",
		pkg: "./versioning/postgres", tests: "^TestUndecodableOfOthers$",
	},
	{
		file: "versioning/postgres/recall.go", text: `!moved[k.Number()-1] || plan.Outcomes[i].Verdict > versioning.Applied`, mutated: `false && plan.Outcomes[i].Verdict > versioning.Applied`,
		why: "a record is rejected for a state that the row has no more",
		pkg: "./versioning/postgres", tests: "^TestRecallIsWrong$",
	},
	{
		file: "versioning/postgres/recall.go", text: `!errors.Is(err, errMoved) && !isCode(err, uniqueViolation)`, mutated: `!errors.Is(err, errMoved)`,
		why: "a new entity whose row was deleted holds up its batch forever",
		pkg: "./versioning/postgres", tests: "^TestRecallIsWrong$",
	},
	{
		file: "versioning/postgres/memory.go", text: `k.Exists && (!had.hasFirst || had.hasMore)`, mutated: `false`,
		why: "a message takes effect twice, because not all messages that have moved the row were known",
		pkg: "./versioning/postgres", tests: "^TestRecallIsWrong$",
	},
}
