package main

import (
	"strings"

	"github.com/pawl-go/pawl/migrations"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A tenant names one of several who share the database, the machines, the keys and the
// message IDs, and have tables, a framework schema, a topic and a group of their own.
type tenant string

var tenants = []tenant{"a", "b"}

func (t tenant) topic() string            { return "accounts_" + string(t) }
func (t tenant) group() string            { return "torture_" + string(t) }
func (t tenant) pawl() migrations.Schema  { return migrations.Schema("pawl_" + string(t)) }
func (t tenant) schema() string           { return "torture_" + string(t) }
func (t tenant) tables() []postgres.Table { return tablesIn(t.schema()) }

// sql makes a statement about schemas torture and pawl one about the tenant's.
func (t tenant) sql(statement string) string {
	return strings.NewReplacer("torture.", t.schema()+".", "pawl.", t.pawl().Quoted()+".", "SCHEMA torture", "SCHEMA "+t.schema()).Replace(statement)
}

// A tenancy is what a run knows of a tenant.
type tenancy struct {
	tenant

	book     *ledger
	progress *progress
}
