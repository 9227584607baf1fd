package main

// computing are the mutations of transitions that compute.
var computing = []mutation{
	{
		file: "versioning/fold.go", text: `e.data = data.Before`, mutated: `_ = data`,
		why: "what a refused record has computed stays",
		pkg: "./internal/model", tests: "^TestData$/^by_message$",
	},
	{
		file: "versioning/postgres/rows_write.go", text: `t.xmin = u.writer::pg_catalog.xid)`, mutated: `t.xmin IS NOT NULL)`,
		why: "what was computed from a row that somebody has written since overwrites it",
		pkg: "./versioning/postgres", tests: "^TestForeignWrites$",
	},
	{
		file: "versioning/compute.go", text: `switch err := b.Act(&firing, row, data); {`,
		mutated: `_ = b.Act(&firing, row, data); switch err := b.Act(&firing, row, data); {`,
		why:     "an action runs twice in one step",
		pkg:     "./internal/model", tests: "^TestData$/^by_message$",
	},
	{
		file: "versioning/compute.go", text: `b := &branches[i]`, mutated: `b := &branches[len(branches)-1-i]`,
		why: "branches are tried in the wrong order",
		pkg: "./internal/model", tests: "^TestData$/^by_message$",
	},
	{
		file: "versioning/compute.go", text: `if !b.Holds(in.arguments()) {`,
		mutated: `if _ = b.Act(&statemachine.Firing{}, in.loaded, in.cloned); !b.Holds(in.arguments()) {`,
		why:     "a condition sees the row after the action",
		pkg:     "./internal/model", tests: "^TestData$/^by_message$",
	},
	{
		file: "versioning/compute.go", text: `in.loaded == nil || !in.functions.rows.IsFlat()`, mutated: `in.loaded == nil`,
		why: "an action gets a row that conditions have changed",
		pkg: "./internal/model", tests: "^TestData$/^by_message$",
	},
	{
		file: "versioning/compute.go", text: `(in.cloned == nil || !d.Flat())`, mutated: `in.cloned == nil`,
		why: "an action gets data that conditions have changed",
		pkg: "./internal/model", tests: "^TestData$/^by_message$",
	},
	{
		file: "versioning/compute.go", text: `in.cloned, err = d.Clone(in.data)`, mutated: `in.cloned = in.data`,
		why: "an action changes the data of its record, which may be judged again",
		pkg: "./internal/model", tests: "^TestData$/^by_message$",
	},
	{
		file: "versioning/functions.go", text: `data, err := d.Decode(encoded)`,
		mutated: `var rounded any; _ = json.Unmarshal(encoded, &rounded); encoded, _ = json.Marshal(rounded); data, err := d.Decode(encoded)`,
		why:     "an amount beyond 2^53 is rounded while its record is parked",
		pkg:     "./versioning/postgres", tests: "^TestConformance$/./^data$",
	},
	{
		file: "versioning/digest.go", text: `d.Data(r.Encoded[change])`, mutated: `_ = d.Data`,
		why: "a message with a known ID and other data counts as a duplicate and is lost",
		pkg: "./internal/model", tests: "^TestData$/^by_message$",
	},
	{
		file: "versioning/postgres/prepared.go", text: `d.Data(r.Encoded[i])`, mutated: `_ = r.Encoded`,
		why: "a message with a known ID, the same columns and other data is lost",
		pkg: "./internal/model", tests: "^TestDataInPostgres$/^by_message$",
	},
	{
		file: "versioning/postgres/row_type.go", text: `copy(after.cells, before.cells)`, mutated: ``,
		why: "columns that an action does not change are empty for the next step",
		pkg: "./internal/model", tests: "^TestDataInPostgres$/^by_message$",
	},
	{
		file: "versioning/postgres/stored_text.go", text: `digits[point+scale] >= '5'`, mutated: `digits[point+scale] > '5'`,
		why: "a step computes with a number that PostgreSQL will round differently",
		pkg: "./internal/model", tests: "^TestDataInPostgres$",
	},
	{
		file: "versioning/judge.go", text: `e.guessed = len(branches) > 1`, mutated: ``,
		why: "a record that waits is rejected because of a branch that it may not take",
		pkg: "./versioning", tests: "^TestNoGuess$",
	},
}
