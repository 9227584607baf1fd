package main

// messages are mistakes in the outbox and the relay.
var messages = []mutation{
	{
		file: "versioning/postgres/outbox_read.go", text: `packs = append(packs, p)
		return nil
	})
	return packs, damaged, err
}`, mutated: `if p.ID > lastID[p.Lane] {
			packs, lastID[p.Lane] = append(packs, p), p.ID
		}
		return nil
	})
	return packs, damaged, err
}

var lastID [versioning.Lanes]int64`,
		why: "the relay has a cursor by sequence, which skips messages that are committed late",
		pkg: "./versioning/postgres", tests: "^TestOpenTransactions$",
	},
	{
		file: "versioning/postgres/outbox_delete.go", text: `restTokens(of.tokens))`, mutated: `of.tokens)`,
		why: "a transactional relay publishes a message again if a relay that was frozen has split its pack",
		pkg: "./versioning/postgres", tests: "^TestDeleteWhileRefusing$",
	},
	{
		file: "versioning/postgres/outbox_lanes.go", text: `l.free || slices.Equal(`, mutated: `slices.Equal(`,
		why: "a relay that gives up some lanes and then all of them never stops",
		pkg: "./versioning/postgres", tests: "^TestReleaseTwice$",
	},
	{
		file: "relay/loops.go", text: `l == nil || l.failed {`, mutated: `l == nil {`,
		why: "what has overtaken a failed message is deleted, so the message is sent again behind it",
		pkg: "./relay", tests: "^TestOvertakerStays$",
	},
	{
		file: "relay/lane.go", text: `if l.failed {
		return false
	}`, mutated: ``,
		why: "a lane is released with failed messages that later ones have overtaken",
		pkg: "./relay", tests: "^TestDecidedBeforeRelease$",
	},
}
