package redis_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pawl-go/pawl/gateway"
)

// othersLock returns what a key holds while another process has locked it.
func othersLock(lease int) string { return fmt.Sprintf("L%d:%s", lease, strings.Repeat("A", 26)) }

func TestForeignValue(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	client, b := connect(t, server), open(t, server)
	mustFinish(t, mustClaim(t, b, "a"), "x")
	where := name(t, client)
	lock := othersLock(3000)
	for _, command := range [][]string{
		{"SET", where, "of another program"},
		{"RPUSH", where, "of another program"},
		{"SET", where, ""},
		{"SET", where, "R"},
		{"SET", where, "Lock of another program"},
		{"SET", where, "L3000:short"},
		{"SET", where, "L-" + lock[1:]},
		{"SET", where, lock + "?"},
	} {
		do(t, client, "DEL", where)
		do(t, client, command...)
		_, _, err := b.Begin(t.Context(), key("a"))
		if _, unavailable := errors.AsType[*gateway.UnavailableError](err); err == nil || unavailable || !strings.Contains(err.Error(), "prefix") {
			t.Errorf("%s: Begin of a key with a foreign value: %v", command, err)
		}
	}
	do(t, client, "SET", where, lock)
	mustBusy(t, b, "a")
}
