package main

// definitions are about definitions that change while records are in flight.
var definitions = []mutation{
	{
		file: "versioning/park.go", text: `w.stored && (w.Definition != e.rules.Machine.Version() ||`, mutated: `w.stored && (false ||`,
		why: "a record of several entities that another version of the machine has parked waits until its entity moves",
		pkg: "./versioning", tests: "^TestNewerVersionParked$",
	},
	{
		file: "versioning/park.go", text: `if first := f.outdatedBefore(w, e); first != nil {`, mutated: `if first := f.outdatedBefore(w, e); false {`,
		why: "a parked record of two entities overtakes what waits for the other one",
		pkg: "./versioning", tests: "^TestMovedBesideParked$",
	},
	{
		file: "versioning/park.go", text: `limit *= deployParked`, mutated: `limit *= 1`,
		why: "records of a busy entity become dead letters during a deploy",
		pkg: "./versioning", tests: "^TestMaxParkedForDefinitions$",
	},
	{
		file: "versioning/judge.go", text: `if c.Armed > 0 && e.rules.Machine.Classify(e.state, statemachine.Migrated) == statemachine.Now {`, mutated: `if false {`,
		why: "a timer of an older version becomes a dead letter before its entity is migrated",
		pkg: "./versioning", tests: "^TestTimerInRetiredState$",
	},
	{
		file: "versioning/postgres/parked_expire.go", text: `AND reason = 'unknown_event' AND parked_at <= now() - $2::interval`, mutated: `AND reason = 'unknown_event'`,
		why: "a record of an unknown event becomes a dead letter before the version comes that has it",
		pkg: "./versioning/postgres", tests: "^TestKeepUnknown$",
	},
	{
		file: "versioning/park.go", text: `|| x.isFree(other))`, mutated: `)`,
		why: "a record overtakes one that waited behind an unknown event",
		pkg: "./versioning/postgres", tests: "^TestUnknownEventGone$",
	},
	{
		file: "versioning/judge.go", text: `if e.waits(ReasonUnknownEvent) {`, mutated: `if false {`,
		why: "later records overtake one whose event is unknown",
		pkg: "./versioning/postgres", tests: "^TestKeepUnknown$",
	},
	{
		file: "versioning/postgres/rows_read.go", text: `r.keys[f.table] = append(r.keys[f.table], keys[i]...)`, mutated: `r.keys[f.table] = keys[i]`,
		why: "what is parked is not read again, so a record that waits for another entity meanwhile is missed",
		pkg: "./versioning/postgres", tests: "^TestParkedRecordChangesSides$",
	},
	{
		file: "versioning/postgres/parked.go", text: `OR p.definition > $5 AND t.%[6]s::text = ANY ($7::text[])`, mutated: `OR $5 < 0 AND t.%[6]s::text = ANY ($7::text[])`,
		why: "after a roll back, records wait for ever that the newer version has parked",
		pkg: "./versioning/postgres", tests: "^TestSweepAfterRollBack$",
	},
	{
		file: "versioning/judge.go", text: `if e.waits(ReasonNewerDefinition) && len(e.rules.Newer) > 0 {`, mutated: `if false {`,
		why: "a record overtakes one of its entity that waits for a newer version of the machine",
		pkg: "./versioning/versioningtest", tests: "^TestMemory$/^definitions$",
	},
	{
		file: "versioning/judge.go", text: `func(n statemachine.Outline) bool { return n.Takes(c.Event) }`, mutated: `func(statemachine.Outline) bool { return false }`,
		why: "an older version buries an event that a newer one knows",
		pkg: "./versioning/versioningtest", tests: "^TestMemory$/^definitions$",
	},
	{
		file: "versioning/postgres/machines.go", text: `!ok || own.Hash == mine.Hash()`, mutated: `!ok || mine.Hash() != ""`,
		why: "another definition is used under a version that is known",
		pkg: "./versioning/postgres", tests: "^TestDefinitionUnderAKnownVersion$",
	},
	{
		file: "versioning/postgres/altered.go", text: `if in != nil {`, mutated: `if in == nil {`,
		why: "a worker does not notice that a newer version was registered",
		pkg: "./versioning/postgres", tests: "^TestNewerDefinition$",
	},
}
