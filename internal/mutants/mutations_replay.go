package main

// replays are about replays of topics next to workers.
var replays = []mutation{
	{
		file: "versioning/postgres/settle.go", text: "shared := t.store.schema.sharedSQL", mutated: `shared := "NULL"`,
		why: "a worker applies a message again that a rebuild has put into the history after the worker has read it",
		pkg: "./replay", tests: "^TestRebuildBetweenReadAndWrite$",
	},
}
