// Package migrations names the framework's schema in a database, and checks its
// version. The schema holds the history of transitions, the parked records and the
// dead letters. It is called pawl unless a [Schema] gives it another name.
//
// [Check] only reads, and needs no right to create anything: workers call it when they
// start. Package [github.com/pawl-go/pawl/migrations/migrate] creates the schema and
// upgrades it. It is a package by itself so that workers do not link what only
// migrations need. The command pawl-migrate does the same from a shell:
//
//	go run github.com/pawl-go/pawl/migrations/cmd/pawl-migrate up
package migrations
