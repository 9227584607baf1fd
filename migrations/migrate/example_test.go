package migrate_test

import (
	"context"
	"fmt"

	"github.com/pawl-go/pawl/migrations/migrate"
)

// A deployment upgrades the schema before it replaces the workers.
func ExampleUp() { //nolint:testableexamples // it needs a server
	if err := migrate.Up(context.Background(), "postgres://localhost/shop"); err != nil {
		fmt.Println(err)
	}
}

// A schema's name is checked before the database is reached.
func ExampleUpIn() {
	err := migrate.UpIn(context.Background(), "postgres://localhost/shop", "pg_tenant_a")
	fmt.Println(err)
	// Output:
	// schema name "pg_tenant_a" is reserved by PostgreSQL; choose another name
}
