// Package failover tests workers that lose their PostgreSQL server: a standby
// takes over, or a backup is restored. Each test runs two servers, which takes
// longer than other tests, so they need a build tag:
//
//	go test -tags failover ./internal/failover
//
// BenchmarkReplay measures the cost of waiting for a synchronous standby.
package failover
