package main

// definitions are about definitions that change while records are in flight.
var definitions = []mutation{
	{
		file: "versioning/park.go", text: `w.stored && w.Definition < e.rules.Machine.Version()`, mutated: `false`,
		why: "a record of several entities that an older version of the machine has parked waits until its entity moves",
		pkg: "./versioning/versioningtest", tests: "^TestMemory$/^definitions$",
	},
	{
		file: "versioning/judge.go", text: `if e.waitsForNewer() {`, mutated: `if false {`,
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
