package jobs

import (
	"context"

	"github.com/pawl-go/pawl/jobs/internal/postgres"
)

// Migrate is [MigrateIn] for the first schema of the role's search_path, usually public.
func Migrate(ctx context.Context, databaseURL string) error {
	return postgres.Migrate(ctx, databaseURL, "")
}

// MigrateIn creates River's tables in a schema, or upgrades them. It does the same as River's
// own command, river migrate-up, and River's tables may be shared with jobs that are not
// Pawl's. It creates the schema if it does not exist; [river.Config.Schema] must name it.
//
// databaseURL is a PostgreSQL connection string. The role needs CREATE on the schema, or on
// the database if the schema does not exist. Several processes may call MigrateIn at the
// same time. A deployment upgrades the tables before it replaces the workers. If they are
// newer than this build's River, MigrateIn leaves them as they are.
func MigrateIn(ctx context.Context, databaseURL, schema string) error {
	return postgres.Migrate(ctx, databaseURL, schema)
}
