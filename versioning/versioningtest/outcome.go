package versioningtest

import (
	"slices"
	"strconv"
	"strings"

	"github.com/pawl-go/pawl/versioning"
)

// contents is everything the store holds about a case's entities.
type contents struct {
	Rows        []string
	History     map[string][]Transition
	Parked      []Parked
	DeadLetters []DeadLetter
}

func number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func verdict(o versioning.Outcome) string {
	return strings.TrimSpace(o.Verdict.String() + " " + string(o.Reason))
}

func sorted(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return s
}
