package migrations_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/migrations"
)

// A program that starts before the schema was upgraded can report the version it needs.
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
		fmt.Printf("the schema is at version %d; this build needs at least %d\n", schema.Have, schema.Want)
	} else if err != nil {
		fmt.Println(err) // the version could not be read
	}
}

// Each tenant can have a separate framework schema. SQL rewrites a query for it.
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
