package migrations_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/internal/testenv" //nolint:depguard // examples run against a server, migrations do not need it
	"github.com/pawl-go/pawl/migrations"
	"github.com/pawl-go/pawl/migrations/migrate"
)

// A program that starts before the schema was created or upgraded can say so.
func ExampleCheck() {
	ctx := context.Background()
	url, drop := testenv.ExamplePostgres()
	defer drop()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = conn.Close(ctx) }()

	check := func() {
		err := migrations.Check(ctx, conn)
		if schema, ok := errors.AsType[*migrations.SchemaError](err); ok {
			fmt.Printf("the schema is at version %d, which is too old: %t\n", schema.Have, schema.Have < schema.Want)
			return
		}
		fmt.Println("checked:", err) // nil, or the version could not be read
	}
	check()
	if err := migrate.Up(ctx, url); err != nil { // as pawl migrate up does
		fmt.Println(err)
		return
	}
	check()
	// Output:
	// the schema is at version 0, which is too old: true
	// checked: <nil>
}

// Each tenant can have a separate framework schema. SQL rewrites a query for it.
func ExampleSchema() {
	tenant := migrations.Schema("Tenant A")
	if err := tenant.Validate(); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(tenant.SQL(`SELECT count(*) FROM pawl.dead_letters`))
	fmt.Println("GRANT USAGE ON SCHEMA " + tenant.Quoted() + " TO worker")
	fmt.Println(migrations.Schema("pg_tenant").Validate())
	// Output:
	// SELECT count(*) FROM "Tenant A".dead_letters
	// GRANT USAGE ON SCHEMA "Tenant A" TO worker
	// schema name "pg_tenant" is reserved by PostgreSQL; choose another name
}

// A program that serves several tenants checks each of their schemas.
func ExampleSchema_Check() {
	ctx := context.Background()
	url, drop := testenv.ExamplePostgres()
	defer drop()
	if err := migrate.UpIn(ctx, url, "acme"); err != nil {
		fmt.Println(err)
		return
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, tenant := range []migrations.Schema{"acme", "globex"} {
		err := tenant.Check(ctx, conn)
		version, _ := tenant.Installed(ctx, conn)
		fmt.Printf("%s can be served: %t; it has a schema: %t\n", tenant, !errors.Is(err, migrations.ErrSchema), version > 0)
	}
	// Output:
	// acme can be served: true; it has a schema: true
	// globex can be served: false; it has a schema: false
}
