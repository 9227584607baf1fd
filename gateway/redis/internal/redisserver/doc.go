//go:build unix

// Package redisserver runs real redis-server processes for tests, on loopback, and kills and
// freezes them.
package redisserver
