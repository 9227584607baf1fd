//go:build race

package consumer_test

// underRace reports whether the race detector is on.
const underRace = true
