package versioningtest

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pawl-go/pawl/versioning"
)

// A dataCase is a list of records about wallets, with their last verdicts, and what the
// wallets look like in the end.
type dataCase struct {
	name    string
	records []dataStep
	rows    map[string]string // "state@version balance credit notes", by key
}

type dataStep struct {
	changes []versioning.Change
	want    string
}

func opened(key string, credit *int64) versioning.Change {
	return versioning.Change{Machine: wallet, Key: key, Event: "opened", Data: walletOpened{credit}}
}

func moved(key string, amount int64, notes ...string) versioning.Change {
	return versioning.Change{Machine: wallet, Key: key, Event: "moved", Data: walletMoved{Amount: amount, Notes: notes}}
}

func movedAfter(key string, amount, after int64) versioning.Change {
	return versioning.Change{Machine: wallet, Key: key, Event: "moved", Data: walletMoved{Amount: amount, After: after}}
}

func withID(c versioning.Change) versioning.Change {
	c.MessageID = "m"
	return c
}

func with(c versioning.Change, data any) versioning.Change {
	c.Data = data
	return c
}

func one(want string, changes ...versioning.Change) dataStep { return dataStep{changes, want} }

func closed(key string) versioning.Change {
	return versioning.Change{Machine: wallet, Key: key, Event: "closed"}
}

// exact is beyond the integers that a float64 can hold.
const exact = 1<<53 + 1

func dataCases() []dataCase {
	return []dataCase{
		{"steps chain", []dataStep{
			one("applied", opened("a", nil)),
			one("applied", moved("a", 10, "x")),
			one("applied", moved("a", -4)),
			one("applied", moved("a", -6, "y", "z")),
			one("applied", closed("a")),
		}, map[string]string{"a": "closed@5 0 NULL [x.. y z]"}},
		{"a refused step leaves nothing", []dataStep{
			one("applied", opened("a", new(int64(5)))),
			one("applied", moved("a", 10, "x")),
			one("rejected refused", moved("a", -100, "y")),
			one("rejected refused", moved("a", -18)),
			one("applied", moved("a", -15)),
		}, map[string]string{"a": "filled@3 -5 7 [x.]"}},
		{"a refused change undoes the record", []dataStep{
			one("applied", opened("a", new(int64(1)))),
			one("applied", opened("b", nil)),
			one("applied", moved("a", 9, "x")),
			one("rejected refused", moved("a", 1, "y"), moved("a", 1), moved("b", -1)),
			one("applied", moved("a", -9), moved("b", 9)),
		}, map[string]string{"a": "empty@3 0 3 [x.]", "b": "filled@2 9 NULL []"}},
		{"parked data is exact", []dataStep{
			one("applied", moved("a", exact, "", "é\\")),
			one("applied", opened("a", new(int64(exact)))),
		}, map[string]string{"a": fmt.Sprintf("filled@2 %d %d [ %s]", exact, exact+1, "é\\")}},
		{"not yet", []dataStep{
			one("applied", opened("a", nil)),
			one("applied", movedAfter("a", 1, 15)),
			one("applied", moved("a", 10)),
			one("applied", moved("a", 5)),
			one("early not_yet", movedAfter("a", 1, 100)),
		}, map[string]string{"a": "filled@4 16 NULL []"}},
		{"no branch", []dataStep{
			one("applied", opened("a", nil)),
			one("rejected no_branch", closed("a")),
		}, map[string]string{"a": "empty@1 0 NULL []"}},
		{"unfit", []dataStep{
			one("applied", opened("a", nil)),
			one("rejected invalid_data", with(moved("a", 1), nil)),
			one("rejected invalid_data", with(moved("a", 1), walletOpened{})),
			one("rejected invalid_data", with(moved("a", 1), &walletMoved{})),
			one("rejected invalid_column", versioning.Change{
				Machine: wallet, Key: "a", Event: "moved", Data: walletMoved{Amount: 1}, Set: versioning.Columns{"balance": int64(7)},
			}),
			one("rejected unknown_event", versioning.Change{Machine: wallet, Key: "a", Event: "nosuch", Data: 7}),
		}, map[string]string{"a": "empty@1 0 NULL []"}},
		{"messages are told apart by their data", []dataStep{
			one("applied", opened("a", nil)),
			one("applied", withID(moved("a", 1, "x"))),
			one("duplicate", withID(moved("a", 1, "x"))),
			one("diverged message_taken", withID(moved("a", 2, "x"))),
			one("diverged message_taken", withID(moved("a", 1, "y"))),
			one("duplicate", withID(moved("a", 1, "x"))),
		}, map[string]string{"a": "filled@2 1 NULL [x]"}},
	}
}

// checkData checks machines with functions: in one batch, and one record at a time.
func checkData(t *testing.T, open Open) {
	for _, c := range dataCases() {
		for _, size := range []int{len(c.records), 1, 2} {
			t.Run(fmt.Sprintf("%s/by %d", c.name, size), func(t *testing.T) {
				s := newScript(t, open, suiteCase{})
				for i, step := range c.records {
					s.all = append(s.all, &versioning.Record{Origin: originOf(i), Changes: step.changes})
				}
				for i := 0; i < len(s.all); i += size {
					s.apply(s.all[i:min(i+size, len(s.all))])
				}
				for i, step := range c.records {
					if got := s.verdicts[s.all[i]]; got != step.want {
						t.Errorf("record %d: %s, want %s", i, got, step.want)
					}
				}
				s.wallets(c.rows)
			})
		}
	}
}

// wallets checks the rows of wallets.
func (s *script) wallets(want map[string]string) {
	s.t.Helper()
	for key, want := range want {
		row, ok := s.Row(versioning.Entity{Machine: wallet, Key: key})
		credit := row.Columns["credit"]
		if credit == nil {
			credit = "NULL"
		}
		notes := row.Columns["notes"]
		if notes == nil {
			notes = []string{}
		}
		got := fmt.Sprintf("%s@%d %v %v %v", row.State, row.Version, row.Columns["balance"], credit, notes)
		if diff := cmp.Diff(want, got); !ok || diff != "" {
			s.t.Errorf("wallet %s (-want, +got):\n%s", key, diff)
		}
	}
}
