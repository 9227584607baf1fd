package migrations_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/migrations"
)

// A program that starts before the schema was upgraded can say what is missing.
func ExampleCheck() { //nolint:testableexamples // it needs a server
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "postgres://localhost/shop")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = conn.Close(ctx) }()

	err = migrations.Check(ctx, conn)
	if schema, ok := errors.AsType[*migrations.SchemaError](err); ok {
		fmt.Printf("the schema is at version %d, and has to be at %d at least\n", schema.Have, schema.Want)
	} else if err != nil {
		fmt.Println(err) // the database could not be asked
	}
}

// Each tenant can have a schema of the framework's. A query that is written for schema
// pawl is rewritten for the tenant's.
func ExampleSchema() {
	tenant := migrations.Schema("Tenant A")
	if err := tenant.Validate(); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(tenant.SQL(`SELECT count(*) FROM pawl.dead_letters`))
	// Output:
	// SELECT count(*) FROM "Tenant A".dead_letters
}
