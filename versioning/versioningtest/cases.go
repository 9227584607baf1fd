package versioningtest

import "slices"

// suiteCases are the test cases of the suite. The longest one also runs in two batches,
// split at every possible place.
var suiteCases = slices.Concat(plainCases, duplicateCases, changeCases, directCases)

// plainCases are about single records, in order.
var plainCases = []suiteCase{
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
		name: "several entities",
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
		name: "illegal in all later states",
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
		name: "an action refuses",
		steps: []step{
			{"account/a opened", "applied"},
			{"account/a debited | value=refuse", "rejected refused"},
			{"account/a debited | value=panic", "rejected refused"},
			{"account/a debited | value=ok", "applied"},
		},
		rows: []string{"account/a active@2"},
		dead: []string{"account/a refused", "account/a refused"},
	},
	{
		name: "an action refuses a parked record",
		steps: []step{
			{"account/a debited | value=refuse", "rejected refused"},
			{"account/a debited | value=ok", "applied"},
			{"account/a opened", "applied"},
		},
		rows: []string{"account/a active@2"},
		dead: []string{"account/a refused"},
	},
}
