// Package gateway makes HTTP requests idempotent: a request that is sent again with the same
// Idempotency-Key takes effect once, and gets the first one's response.
package gateway
