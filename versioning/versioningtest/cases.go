package versioningtest

// suiteCases are the stories of the suite. The longest one is also told with a
// border between batches at every place.
var suiteCases = []suiteCase{
	{
		name: "a chain within the batch",
		steps: []step{
			{"order/a placed", "applied"},
			{"order/a captured", "applied"},
			{"order/a shipped", "applied"},
			{"order/a delivered", "applied"},
		},
		rows: []string{"order/a delivered@4"},
	},
	{
		name: "entities side by side",
		steps: []step{
			{"order/a placed", "applied"},
			{"order/b placed", "applied"},
			{"account/a opened", "applied"},
			{"order/b cancelled", "applied"},
			{"order/a captured", "applied"},
			{"account/a frozen", "applied"},
		},
		rows: []string{"order/a paid@2", "order/b cancelled@2", "account/a locked@2"},
	},
	{
		name:  "a row without history",
		put:   map[string]string{"order/a": "paid@7"},
		steps: []step{{"order/a shipped", "applied"}},
		rows:  []string{"order/a shipped@8"},
	},
	{
		name:  "no changes",
		steps: []step{{"nothing", "ignored"}},
	},
	{
		name:  "undecodable",
		steps: []step{{"nothing | err=garbage", "rejected undecodable"}},
		dead:  []string{"/ undecodable"},
	},
	{
		name:  "undecodable with changes",
		steps: []step{{"order/a placed | err=garbage", "rejected undecodable"}},
		dead:  []string{"order/a undecodable"},
	},
	{
		name: "unknown machine and event",
		steps: []step{
			{"nosuch/a placed", "rejected unknown_machine"},
			{"/a placed", "rejected unknown_machine"},
			{"order/a nosuch", "rejected unknown_event"},
		},
		dead: []string{"nosuch/a unknown_machine", "/a unknown_machine", "order/a unknown_event"},
	},
	{
		name:  "an empty key",
		steps: []step{{"order/ placed", "rejected invalid_key"}},
		dead:  []string{"order/ invalid_key"},
	},
	{
		name: "illegal for ever",
		steps: []step{
			{"order/a placed", "applied"},
			{"order/a cancelled", "applied"},
			{"order/a captured", "rejected illegal"},
			{"order/a placed", "rejected illegal"},
		},
		rows: []string{"order/a cancelled@2"},
		dead: []string{"order/a illegal", "order/a illegal"},
	},
	{
		name:  "a state that the machine does not know",
		put:   map[string]string{"order/a": "on hold@4"},
		steps: []step{{"order/a shipped", "early unknown_state"}},
		rows:  []string{"order/a on hold@4"}, parked: []string{"order/a unknown_state 4"},
	},
	{
		name: "a guard",
		steps: []step{
			{"account/a opened", "applied"},
			{"account/a debited | value=refuse", "rejected guard"},
			{"account/a debited | value=panic", "rejected guard"},
			{"account/a debited | value=ok", "applied"},
		},
		rows: []string{"account/a active@2"},
		dead: []string{"account/a guard", "account/a guard"},
	},
	{
		name: "a guard on a parked record",
		steps: []step{
			{"account/a debited | value=refuse", "rejected guard"},
			{"account/a debited | value=ok", "applied"},
			{"account/a opened", "applied"},
		},
		rows: []string{"account/a active@2"},
		dead: []string{"account/a guard"},
	},

	// Duplicates.
	{
		name: "a message that is sent twice",
		steps: []step{
			{"account/a opened id=m1", "applied"},
			{"account/a frozen id=m2", "applied"},
			{"account/a frozen id=m2", "duplicate"},
			{"account/a thawed id=m3", "applied"},
			{"account/a frozen id=m2", "duplicate"},
			{"account/a frozen id=m4", "applied"},
			{"account/a opened id=m1", "duplicate"},
		},
		rows: []string{"account/a locked@4"},
	},
	{
		name: "one message ID for two entities",
		steps: []step{
			{"order/a placed id=m", "applied"},
			{"order/b placed id=m", "applied"},
			{"account/a opened id=m", "applied"},
		},
		rows: []string{"order/a pending@1", "order/b pending@1", "account/a active@1"},
	},
	{
		name: "a record that is delivered twice",
		steps: []step{
			{"order/a placed", "applied"},
			{"order/a placed | same=0", "duplicate"},
			{"order/a captured", "applied"},
			{"order/a placed | same=0", "duplicate"},
			{"order/a captured | same=2", "duplicate"},
		},
		rows: []string{"order/a paid@2"},
	},
	{
		name: "expected versions",
		steps: []step{
			{"order/a placed at=0", "applied"},
			{"order/a captured at=1", "applied"},
			{"order/a captured at=1 id=other", "duplicate"},
			{"order/a placed at=0", "duplicate"},
			{"order/a cancelled at=1", "diverged version_taken"},
			{"order/a shipped at=2", "applied"},
		},
		rows: []string{"order/a shipped@3"},
		dead: []string{"order/a version_taken"},
	},
	{
		name: "illegal at the expected version",
		steps: []step{
			{"order/a placed at=0", "applied"},
			{"order/a shipped at=1", "rejected illegal"},
			{"order/b shipped at=0", "rejected illegal"},
		},
		rows: []string{"order/a pending@1"},
		dead: []string{"order/a illegal", "order/b illegal"},
	},
	{
		name: "versions ahead",
		steps: []step{
			{"order/a shipped at=2", "applied"},
			{"order/a delivered at=4", "early version_ahead"},
			{"order/a placed at=0", "applied"},
			{"order/a captured at=1", "applied"},
			{"order/b captured at=1", "early version_ahead"},
		},
		rows:   []string{"order/a shipped@3"},
		parked: []string{"order/a version_ahead 3", "order/b version_ahead 0"},
	},
	{
		name:  "a version from before the history",
		put:   map[string]string{"order/a": "paid@7"},
		steps: []step{{"order/a captured at=3", "diverged history_missing"}},
		rows:  []string{"order/a paid@7"}, dead: []string{"order/a history_missing"},
	},
	{
		name: "by version",
		steps: []step{
			{"ledger/a opened", "rejected no_version"},
			{"ledger/a posted at=1", "applied"},
			{"ledger/a opened at=0", "applied"},
			{"ledger/a posted at=2", "applied"},
			{"ledger/a posted at=1", "duplicate"},
			{"ledger/a noted at=2", "diverged version_taken"},
		},
		rows: []string{"ledger/a open@3"},
		dead: []string{"ledger/a no_version", "ledger/a version_taken"},
	},
	{
		name: "by state",
		steps: []step{
			{"parcel/a arrived", "applied"},
			{"parcel/a sent", "applied"},
			{"parcel/a sent", "duplicate"},
			{"parcel/a arrived", "duplicate"},
			{"parcel/a fetched", "applied"},
			{"parcel/a sent", "duplicate"},
		},
		rows: []string{"parcel/a gone@3"},
	},
	{
		name:  "by state without history",
		put:   map[string]string{"parcel/a": "here@9"},
		steps: []step{{"parcel/a sent", "duplicate"}, {"parcel/a fetched", "applied"}},
		rows:  []string{"parcel/a gone@10"},
	},

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
			{"order/b placed + account/x debited | value=refuse", "rejected guard"},
			{"order/c placed + order/c nosuch", "rejected unknown_event"},
			{"order/d placed + nosuch/d placed", "rejected unknown_machine"},
		},
		rows: []string{"account/x active@1"},
		dead: []string{"account/x illegal", "account/x guard", "order/c unknown_event", "order/d unknown_machine"},
	},
	{
		name: "the least favourable verdict counts",
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
		name: "a duplicate beside a new change",
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
		name: "an entity that a waiting record needs has ended",
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

	// Rows that have gone.
	{
		name: "a row that has gone",
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

	// All of it. The longest.
	{
		name: "a bit of everything",
		put:  map[string]string{"order/old": "paid@5"},
		steps: []step{
			{"order/a shipped", "applied"},
			{"order/a placed id=m1", "applied"},
			{"order/b captured + account/x debited", "applied"},
			{"account/x debited at=1 | value=refuse", "rejected guard"},
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
			{"account/y frozen + account/x closed", "early no_entity"},
		},
		rows: []string{
			"order/a delivered@4", "order/b shipped@3", "account/x active@2", "order/old shipped@6", "order/c pending@1",
		},
		parked: []string{"order/c not_yet 1", "order/c version_ahead 1", "account/y no_entity 0"},
		dead:   []string{"account/x guard", "/ undecodable"},
	},
}
