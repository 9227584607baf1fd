package main

// codecs are mistakes in decoding, and in what happens while that is in trouble.
var codecs = []mutation{
	{
		file: "consumer/decoder.go", text: `|| d.partitions.tenureOf(s.partition) != s.tenure {`, mutated: `{`,
		why: "a worker waits for a record that it no longer owns",
		pkg: "./consumer", tests: "^TestPartitionIsTakenDuringDecodeTrouble$",
	},
	{
		file: "consumer/decoder.go", text: `taken = b.records[i].Trouble() != nil`, mutated: `taken = false`,
		why: "each record of a partition that was taken away is decoded, and waited for",
		pkg: "./consumer", tests: "^TestPartitionIsTakenDuringDecodeTrouble$",
	},
	{
		file: "consumer/decoder.go", text: `err != nil || ctx.Err() != nil {`, mutated: `err != nil {`,
		why: "a worker that is stopped goes on decoding",
		pkg: "./consumer", tests: "^TestShutdownDuringDecodeTrouble$",
	},
	{
		file: "versioning/trouble.go", text: `if _, ok := errors.AsType[*PanicError](r.Err); ok {`, mutated: `if false {`,
		why: "a record whose decoding panics is retried for ever",
		pkg: "./versioning", tests: "^TestTrouble$",
	},
	{
		file: "versioning/postgres/redrive.go", text: `if err := r.Trouble(); err != nil {`, mutated: `if err := r.Trouble(); false {`,
		why: "a redrive gives a dead letter another verdict because a registry is down",
		pkg: "./versioning/postgres", tests: "^TestRedriveInTrouble$",
	},
	{
		file: "replay/read.go", text: `if err := r.whileTroubled(ctx, maker, b.records[i]); err != nil {`, mutated: `if err := error(nil); err != nil {`,
		why: "a replay makes dead letters because a registry is down",
		pkg: "./replay", tests: "^TestTroubleWithDecoding$",
	},
	{
		file: "codec/structured.go", text: `return "", false, errors.New("it is an object or an array")`, mutated: `return string(raw), true, nil`,
		why: "an attribute of a CloudEvent that is an object is accepted",
		pkg: "./codec", tests: "^TestCloudEvents$",
	},
	{
		file: "codec/registry/cache.go", text: `errors.Is(f.err, versioning.ErrInfrastructure) ||`, mutated: ``,
		why:    "a registry that was down stays down for a schema",
		module: "codec/registry", pkg: ".", tests: "^TestFaults$",
	},
	{
		file: "codec/registry/registry.go", text: `switch answer.ErrorCode {`, mutated: `switch { case answer.StatusCode == 404: return ErrUnknownSchema }; switch answer.ErrorCode {`,
		why:    "records become dead letters because a proxy answers 404",
		module: "codec/registry", pkg: ".", tests: "^TestFaults$",
	},
	{
		file: "codec/registry/protobuf/protobuf.go", text: `if name != c.name {`, mutated: `if false {`,
		why:    "another message is decoded as if it were the one",
		module: "codec/registry", pkg: "./protobuf", tests: "^TestDecode$",
	},
}
