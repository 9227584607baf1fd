package versioningtest

// changeCases are about records with several changes, parked records and deleted rows.
var changeCases = []suiteCase{
	// Several changes.
	{
		name: "several changes, all made",
		steps: []step{
			{"order/a placed + account/x opened", "applied"},
			{"order/a captured + account/x debited + account/x frozen", "applied"},
		},
		rows: []string{"order/a paid@2", "account/x locked@3"},
	},
	{
		name: "several changes, one impossible",
		steps: []step{
			{"account/x opened", "applied"},
			{"order/a placed + account/x opened + account/y opened", "rejected illegal"},
			{"order/b placed + account/x debited | value=refuse", "rejected refused"},
			{"order/c placed + order/c nosuch", "rejected unknown_event"},
			{"order/d placed + nosuch/d placed", "rejected unknown_machine"},
		},
		rows: []string{"account/x active@1"},
		dead: []string{"account/x illegal", "account/x refused", "order/c unknown_event", "order/d unknown_machine"},
	},
	{
		name: "the worst verdict counts",
		steps: []step{
			{"order/a placed at=0", "applied"},
			{"order/b captured + order/a cancelled at=0 + order/a nosuch", "diverged version_taken"},
			{"order/b captured + order/a nosuch", "rejected unknown_event"},
			{"order/a captured at=1 + order/b captured", "early no_entity"},
		},
		rows:   []string{"order/a pending@1"},
		parked: []string{"order/b no_entity 0"},
		dead:   []string{"order/a version_taken", "order/a unknown_event"},
	},
	{
		name: "a duplicate and a new change",
		steps: []step{
			{"order/a placed id=m", "applied"},
			{"order/a placed id=m + account/x opened id=m", "applied"},
		},
		rows: []string{"order/a pending@1", "account/x active@1"},
	},
	{
		name: "a parked record with several changes",
		steps: []step{
			{"order/a captured + account/x debited", "applied"},
			{"order/a placed", "applied"},
			{"account/x opened", "applied"},
			{"order/b captured + account/y debited", "early no_entity"},
			{"order/b placed", "applied"},
		},
		rows:   []string{"order/a paid@2", "account/x active@2", "order/b pending@1"},
		parked: []string{"account/y no_entity 0"},
	},
	{
		name: "a parked record waits for one of its entities at a time",
		steps: []step{
			{"order/a captured + account/x debited | value=once", "early no_entity"},
			{"account/x opened", "applied"},
			{"account/x frozen", "applied"},
			{"account/x thawed", "applied"},
			{"account/x nosuch", "rejected unknown_event"},
			{"order/a shipped", "early no_entity"},
		},
		rows:   []string{"account/x active@3"},
		parked: []string{"order/a no_entity 0", "order/a no_entity 0"},
		dead:   []string{"account/x unknown_event"},
	},
	{
		name: "an entity of a parked record has reached a terminal state",
		steps: []step{
			{"order/a placed", "applied"},
			{"account/x closed + order/a captured", "early no_entity"},
			{"order/a cancelled", "applied"},
			{"account/x debited", "early no_entity"},
			{"order/a nosuch", "rejected unknown_event"},
		},
		rows:   []string{"order/a cancelled@2"},
		parked: []string{"account/x no_entity 0", "account/x no_entity 0"},
		dead:   []string{"order/a unknown_event"},
	},

	// Parked records.
	{
		name: "backwards",
		steps: []step{
			{"order/a delivered", "applied"},
			{"order/a shipped", "applied"},
			{"order/a captured", "applied"},
			{"order/a placed", "applied"},
		},
		rows: []string{"order/a delivered@4"},
	},
	{
		name: "parked records go first, in their order",
		steps: []step{
			{"order/a captured id=1", "applied"},
			{"order/a captured id=2", "rejected illegal"},
			{"order/a cancelled id=3", "applied"},
			{"order/a placed id=4", "applied"},
			{"order/a shipped id=5", "rejected illegal"},
		},
		rows: []string{"order/a cancelled@3"},
		dead: []string{"order/a illegal", "order/a illegal"},
	},
	{
		name: "a parked record that is sent twice",
		steps: []step{
			{"account/a frozen id=m", "applied"},
			{"account/a frozen id=m", "duplicate"},
			{"account/a opened", "applied"},
		},
		rows: []string{"account/a locked@2"},
	},
	{
		name: "a parked record that is delivered twice",
		steps: []step{
			{"account/a frozen", "applied"},
			{"account/a frozen | same=0", "applied"},
			{"account/a opened", "applied"},
		},
		rows:     []string{"account/a locked@2"},
		replayed: []string{"duplicate", "duplicate", "duplicate"},
	},
	{
		name: "too many parked",
		steps: []step{
			{"queue/a added", "applied"},
			{"queue/a added", "applied"},
			{"queue/a added", "rejected too_many_parked"},
			{"queue/b added", "early no_entity"},
			{"queue/a made", "applied"},
		},
		rows:   []string{"queue/a open@3"},
		parked: []string{"queue/b no_entity 0"},
		dead:   []string{"queue/a too_many_parked"},
	},

	// Deleted rows.
	{
		name: "a deleted row",
		gone: []string{"order/a", "parcel/a"},
		steps: []step{
			{"order/a placed", "applied"},
			{"order/a captured at=1", "applied"},
			{"parcel/a sent", "applied"},
			{"!gone", ""},
			{"order/a placed | same=0", "duplicate"},
			{"order/a captured at=1 | same=1", "duplicate"},
			{"order/a cancelled at=1", "diverged version_taken"},
			{"order/a placed id=new", "rejected entity_gone"},
			{"order/a shipped", "rejected entity_gone"},
			{"order/a shipped at=5", "rejected entity_gone"},
			{"parcel/a arrived", "rejected entity_gone"},
		},
		dead: []string{
			"order/a version_taken", "order/a entity_gone", "order/a entity_gone", "order/a entity_gone",
			"parcel/a entity_gone",
		},
	},

	// A mix of everything, and the longest case.
	{
		name: "a bit of everything",
		put:  map[string]string{"order/old": "paid@5"},
		steps: []step{
			{"order/a shipped", "applied"},
			{"order/a placed id=m1", "applied"},
			{"order/b captured + account/x debited", "applied"},
			{"account/x debited at=1 | value=refuse", "rejected refused"},
			{"order/b shipped + order/a delivered", "applied"},
			{"nothing | err=garbage", "rejected undecodable"},
			{"account/x opened", "applied"},
			{"order/a placed id=m1", "duplicate"},
			{"order/b placed", "applied"},
			{"nothing", "ignored"},
			{"order/a captured", "applied"},
			{"order/old shipped + order/c placed", "applied"},
			{"order/c delivered", "early not_yet"},
			{"order/c captured at=4", "early version_ahead"},
			{"order/a shipped id=m1", "diverged message_taken"},
			{"account/y frozen + account/x closed", "early no_entity"},
		},
		rows: []string{
			"order/a delivered@4", "order/b shipped@3", "account/x active@2", "order/old shipped@6", "order/c pending@1",
		},
		parked: []string{"order/c not_yet 1", "order/c version_ahead 1", "account/y no_entity 0"},
		dead:   []string{"account/x refused", "/ undecodable", "order/a message_taken"},
	},
}
