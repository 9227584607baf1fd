//go:build synctests

package consumer_test

// locksLetTimePass reports whether the Kafka client uses locks that work with a bubble's clock.
const locksLetTimePass = true
