package redis

import (
	"crypto/rand"
	"strconv"
	"strings"
	"time"
)

// What the value of a key begins with.
const (
	locked   = "L" // the lease in milliseconds follows, a colon, and the token
	response = "R" // the encoded response follows
)

// A held is what a key holds. The zero value is something of another program.
type held struct {
	lease    time.Duration // of a lock; more than 0
	response []byte        // never empty
}

// tokens are the characters of a lock's token, as those of [rand.Text].
const tokens = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

// newLock returns the value of a new lock.
func newLock(lease time.Duration) string {
	return locked + milliseconds(lease) + ":" + rand.Text()
}

// parse reads the value of a key. It takes nothing for a lock that newLock has not made: what is
// taken for one keeps its requests from running.
func parse(value string) (h held) {
	if text, ok := strings.CutPrefix(value, response); ok && text != "" {
		h.response = []byte(text)
		return h
	}
	text, ok := strings.CutPrefix(value, locked)
	lease, token, found := strings.Cut(text, ":")
	if !ok || !found || len(token) < 26 || strings.Trim(token, tokens) != "" {
		return h
	}
	ms, err := strconv.ParseInt(lease, 10, 64)
	if d := time.Duration(ms) * time.Millisecond; err == nil && ms > 0 && milliseconds(d) == lease {
		h.lease = d
	}
	return h
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
