package migrate_test

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/internal/testenv" //nolint:depguard // examples run against a server, migrations do not need it
	"github.com/pawl-go/pawl/migrations"
	"github.com/pawl-go/pawl/migrations/migrate"
)

// printCheck prints whether a schema fits this build.
func printCheck(ctx context.Context, url string, schema migrations.Schema) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = conn.Close(ctx) }()
	fmt.Printf("%s fits: %t\n", schema, schema.Check(ctx, conn) == nil)
}

// A deployment upgrades the schema before it replaces the workers. Up does nothing if the
// schema is up to date.
func ExampleUp() {
	ctx := context.Background()
	url, drop := testenv.ExamplePostgres() // postgres://localhost/shop
	defer drop()
	for range 2 {
		if err := migrate.Up(ctx, url); err != nil {
			fmt.Println(err)
			return
		}
		printCheck(ctx, url, "")
	}
	// Output:
	// pawl fits: true
	// pawl fits: true
}

// Each tenant has a schema, so that Down for one leaves the others alone.
func ExampleUpIn() {
	ctx := context.Background()
	url, drop := testenv.ExamplePostgres() // postgres://localhost/shop
	defer drop()
	for _, tenant := range []migrations.Schema{"acme", "globex"} {
		if err := migrate.UpIn(ctx, url, tenant); err != nil {
			fmt.Println(err)
			return
		}
	}
	if err := migrate.DownIn(ctx, url, "globex"); err != nil {
		fmt.Println(err)
		return
	}
	printCheck(ctx, url, "acme")
	printCheck(ctx, url, "globex")

	// A name is checked before the database is reached.
	fmt.Println(migrate.UpIn(ctx, url, "pg_tenant_a"))
	// Output:
	// acme fits: true
	// globex fits: false
	// schema name "pg_tenant_a" is reserved by PostgreSQL; choose another name
}

// Down drops all history, parked records and dead letters. The tables of the entities stay.
func ExampleDown() {
	ctx := context.Background()
	url, drop := testenv.ExamplePostgres() // postgres://localhost/shop
	defer drop()
	if err := migrate.Up(ctx, url); err != nil {
		fmt.Println(err)
		return
	}
	if err := migrate.Down(ctx, url); err != nil {
		fmt.Println(err)
		return
	}
	printCheck(ctx, url, "")
	// Output: pawl fits: false
}
