package main

// replays are about replays of topics next to workers.
var replays = []mutation{
	{
		file: "versioning/postgres/settle.go", text: "shared := t.store.schema.sharedSQL", mutated: `shared := "NULL"`,
		why: "a worker applies a message again that a rebuild has put into the history after the worker has read it",
		pkg: "./replay", tests: "^TestRebuildBetweenReadAndWrite$",
	},
	{
		file: "replay/offsets.go", text: `from != m.From {`, mutated: `from != m.From && from < 0 {`,
		why: "a plan for a group that has gone on is carried out",
		pkg: "./replay", tests: "^TestMoveWhatWasPlanned$",
	},
	{
		file: "versioning/postgres/redecoded.go", text: `slices.Contains(r.Changes[change].MessageIDs(), d.MessageID)`, mutated: `d.MessageID != ""`,
		why: "a dry run does not say that the message ID of a record is another one",
		pkg: "./replay", tests: "^TestRedecoded$",
	},
	{
		file: "versioning/postgres/redecoded.go", text: `d.likeness(c) > d.likeness(*now)`, mutated: `false`,
		why: "a dry run compares a step with any other change of its record",
		pkg: "./versioning/postgres", tests: "^TestRedecodedOfSeveralChanges$",
	},
	{
		file: "replay/replay.go", text: `c.Verdict == versioning.Duplicate.String()`, mutated: `c.Verdict != versioning.Early.String()`,
		why: "a dry run that was interrupted forgets records that are decoded to something else",
		pkg: "./replay", tests: "^TestResumeKnowsRedecoded$",
	},
	{
		file: "versioning/postgres/look_up.go", text: `if s.next += h.part; s.next < s.pages {`, mutated: `if s.next += h.part; s.next < 0 {`,
		why: "a dry run reads only the first part of the history",
		pkg: "./versioning/postgres", tests: "^TestLookUpOriginsInParts$",
	},
}
