package redis_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/pawl-go/pawl/gateway/redis"
)

// rightsRow finds the rights in docs/operations.md: those that are always needed, what may
// replace the last one, and what a client with a cache needs too.
var rightsRow = regexp.MustCompile("(?m)^\\| rights \\| `([^`]+) \\+info` on the keys of the prefix, or `([^`]+)` instead of `\\+info`.*`DisableCache: true`.* needs `([^`]+)` too")

// TestRights uses servers with no more rights than docs/operations.md lists.
func TestRights(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	row := rightsRow.FindStringSubmatch(strings.ReplaceAll(string(page), `\|`, "|"))
	if row == nil {
		t.Fatal("docs/operations.md does not list the rights")
	}
	for _, c := range []struct {
		rights    string
		cache, ok bool
	}{
		{row[1] + " +info", false, true},
		{row[1] + " " + row[2], false, true},
		{row[1], false, false},
		{row[1] + " +info", true, false},
		{row[1] + " +info " + row[3], true, true},
	} {
		server := startRedis(t)
		user := []string{"ACL", "SETUSER", "app", "on", ">secret", "~pawl:gateway:*"}
		do(t, connect(t, server), append(user, strings.Fields(c.rights)...)...)
		if err := useAs(t, rueidis.ClientOption{
			InitAddress: []string{server.Addr}, Username: "app", Password: "secret", DisableCache: !c.cache, ForceSingleClient: true,
		}); (err == nil) != c.ok {
			t.Errorf("with the rights %s, and a cache: %t: %v", c.rights, c.cache, err)
		}
	}
}

// useAs opens a backend and takes a key through all that can happen to it.
func useAs(t *testing.T, option rueidis.ClientOption) error {
	t.Helper()
	client, err := rueidis.NewClient(option)
	if err != nil {
		return err
	}
	t.Cleanup(client.Close)
	b, err := redis.Open(t.Context(), redis.Config{Client: client, Lease: 600 * time.Millisecond})
	if err != nil {
		return err
	}
	run := mustClaim(t, b, "a")
	for begin := time.Now(); time.Since(begin) < 900*time.Millisecond; { // so it is renewed
		mustBusy(t, b, "a")
	}
	mustRelease(t, run)
	mustFinish(t, mustClaim(t, b, "a"), "first")
	mustBeStored(t, b, "a", "first")
	return nil
}
