// Package migrations brings a database's schema "pawl" to the version that
// this build of the framework needs: the history of transitions, the parked
// records and the dead letters.
//
// The migrations are goose migrations, embedded in the binary, and their
// versions are kept in pawl.goose_db_version, apart from those of the
// application. [Up] and [Down] run them, under a lock, so that several
// processes may call Up at the same time. [Check] only looks, and needs no
// right to create anything: workers call it when they start.
//
// The command pawl-migrate in this folder does the same from a shell:
//
//	go run github.com/pawl-go/pawl/migrations/cmd/pawl-migrate up
package migrations
