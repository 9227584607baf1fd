// Package migrations brings the framework's schema in a database to the version
// that this build needs: the history of transitions, the parked records and the
// dead letters. The schema is called pawl unless a [Schema] gives it another name.
//
// The migrations are goose migrations, embedded in the binary, and their
// versions are kept in the schema's table goose_db_version, apart from those of the
// application. [Up] and [Down] run them, under a lock, so that several
// processes may call Up at the same time. [Check] only looks, and needs no
// right to create anything: workers call it when they start.
//
// The command pawl-migrate in this folder does the same from a shell:
//
//	go run github.com/pawl-go/pawl/migrations/cmd/pawl-migrate up
package migrations
