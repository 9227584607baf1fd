package testenv

import (
	"crypto/rand"
	"fmt"
	"os"
	"strings"
)

// nameHint is how much of a test's name goes into a name made for it. With
// the rest it stays below PostgreSQL's 63 bytes.
const nameHint = 30

// uniqueName makes a name for a database or a topic that no other test uses,
// not even one of another process on the same server.
func uniqueName(hint string) string {
	return fmt.Sprintf("pawl_%s_%d_%s", slug(hint), os.Getpid(), strings.ToLower(rand.Text()[:10]))
}

// slug keeps what is allowed in any name, at most nameHint of it.
func slug(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		default:
			return '_'
		}
	}, s)
	return s[:min(len(s), nameHint)]
}
