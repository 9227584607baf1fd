package statemachine

import "strings"

// nearest returns the candidate that name was most likely meant to be, or "" if
// none is close. It allows one typo per three letters, and at most three. Of
// several that are equally close, it returns the one that begins most like name:
// typos are rare in the first letters.
func nearest[N ~string](name N, candidates []N) (best N) {
	limit, prefix := min(3, max(1, len(name)/3)), -1
	lower := strings.ToLower(string(name))
	for _, c := range candidates {
		candidate := strings.ToLower(string(c))
		d := distance(lower, candidate, limit)
		if c == name || d > limit {
			continue
		}
		if p := commonPrefix(lower, candidate); d < limit || p > prefix {
			best, limit, prefix = c, d, p
		}
	}
	return best
}

// commonPrefix returns how many bytes two strings begin with alike.
func commonPrefix(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// distance counts the insertions, deletions, substitutions and swaps of
// neighboring bytes that turn a into b. It returns a number above limit as soon
// as the distance must exceed limit, so that a hopeless pair costs little.
func distance(a, b string, limit int) int {
	if max(len(a)-len(b), len(b)-len(a)) > limit {
		return limit + 1
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+differ(a[i-1], b[j-1]))
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
			least = min(least, row[j])
		}
		if least > limit {
			return limit + 1
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

func differ(a, b byte) int {
	if a == b {
		return 0
	}
	return 1
}
