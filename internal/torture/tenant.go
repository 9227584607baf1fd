package main

import (
	"strings"

	"github.com/pawl-go/pawl/migrations"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A tenant is one of several users of the database. Tenants share machines,
// keys and message IDs. Each has its own tables, framework schema, topic and
// group.
type tenant string

var tenants = []tenant{"a", "b"}

func (t tenant) topic() string            { return "accounts_" + string(t) }
func (t tenant) group() string            { return "torture_" + string(t) }
func (t tenant) pawl() migrations.Schema  { return migrations.Schema("pawl_" + string(t)) }
func (t tenant) schema() string           { return "torture_" + string(t) }
func (t tenant) tables() []postgres.Table { return tablesIn(t.schema()) }

// isTransactional reports whether the tenant's relays publish in transactions.
func (t tenant) isTransactional() bool { return t == "b" }

// transactionalID is that of the tenant's relays.
func (t tenant) transactionalID() string {
	if !t.isTransactional() {
		return ""
	}
	return "torture_" + string(t)
}

// sql replaces the schemas torture and pawl in a statement with the tenant's.
func (t tenant) sql(statement string) string {
	return strings.NewReplacer("torture.", t.schema()+".", "pawl.", t.pawl().Quoted()+".", "river.", t.riverSchema()+".", "SCHEMA torture", "SCHEMA "+t.schema()).Replace(statement)
}

// A tenancy is a tenant's state during a run.
type tenancy struct {
	tenant

	book     *ledger
	progress *progress
}
