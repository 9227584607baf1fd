// Package failover has tests of workers whose PostgreSQL server is lost: a standby
// takes over, or a backup is restored. Each test runs two servers. They take longer than
// the others, so they need a build tag:
//
//	go test -tags failover ./internal/failover
//
// BenchmarkReplay measures what it costs that verdicts wait for a synchronous standby.
package failover
