// Package migrate creates the framework's schema in a database, upgrades it, and drops
// its tables. The schema is called pawl unless a [migrations.Schema] gives it another
// name.
//
// The migrations are goose migrations, embedded in the binary from the folder sql. Their
// versions are kept in the schema's table goose_db_version, apart from the versions of
// the application's own migrations. They run under a lock, so several processes may call
// [Up] at the same time.
//
// Workers need only [migrations.Check], and do not link this package. It registers the
// driver "pgx" of package database/sql.
package migrate
