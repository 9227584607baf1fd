// Package migrations names the framework's schema in a database, and checks its
// version. The schema holds the history of transitions, the parked records and the
// dead letters. It is called pawl unless a [Schema] gives it another name.
//
// [Check] only reads, and needs no right to create anything: workers call it when they
// start. Package [github.com/pawl-go/pawl/migrations/migrate] creates the schema and
// upgrades it. It is a separate package so that workers do not link what only
// migrations need. The command pawl does the same from a shell:
//
//	go run github.com/pawl-go/pawl/cmd/pawl migrate up
//
// # Versions
//
// Migrations have numbers, and the number of the last one that ran is the version of the
// schema. A build of the framework has two versions: [Oldest], the oldest that it works
// with, and [Version], the newest that it ships. It works with every version from Oldest
// on, including those that only newer builds know.
//
// That holds because migrations first expand and then contract. A migration adds what new
// code needs, and leaves what older builds use. A later release drops what its code no
// longer uses, and its changelog names the oldest build that still works. So upgrade the
// schema first, then replace the workers one by one. To go back to the older build,
// replace the workers again and leave the schema as it is.
package migrations
