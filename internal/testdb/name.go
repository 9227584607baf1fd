package testdb

import (
	"crypto/rand"
	"fmt"
	"os"
	"strings"
)

// nameHint is how many bytes of a test's name to put into a generated name.
// With the rest the name stays below PostgreSQL's 63 bytes.
const nameHint = 30

// UniqueName returns a name for a database or topic that no other test uses,
// not even one in another process on the same server. It begins with "pawl_".
func UniqueName(hint string) string {
	return fmt.Sprintf("pawl_%s_%d_%s", Slug(hint), os.Getpid(), strings.ToLower(rand.Text()[:10]))
}

// Slug keeps at most nameHint bytes, and only characters that any name may
// contain.
func Slug(s string) string {
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
