package migrate

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"github.com/pawl-go/pawl/migrations"
)

//go:embed sql/*.sql
var files embed.FS

func newProvider(db *sql.DB, schema migrations.Schema) (*goose.Provider, error) {
	all, err := load(schema)
	if err != nil {
		return nil, err
	}
	store, err := database.NewStore(database.DialectPostgres, schema.SQL("pawl.goose_db_version"))
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectCustom, db, nil,
		goose.WithStore(versions{store}),
		goose.WithGoMigrations(all...),
		goose.WithDisableGlobalRegistry(true))
}

// versions is a store for goose. goose's own store does not find a table with a quoted name.
type versions struct{ database.Store }

// TableExists is an optional method that goose calls if a store has it.
func (v versions) TableExists(ctx context.Context, db database.DBTxConn) (exists bool, err error) {
	err = db.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, v.Tablename()).Scan(&exists)
	return exists, err
}

// load returns the migrations, rewritten for the schema. It passes them to goose as
// functions, because goose's parser splits at semicolons and a schema's name may contain
// some.
func load(schema migrations.Schema) (all []*goose.Migration, err error) {
	names, err := fs.Glob(files, "sql/*.sql")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		version, err := goose.NumericComponent(path.Base(name))
		if err != nil {
			return nil, err
		}
		up, down, ok := strings.Cut(string(text), "-- +goose Down")
		if !ok {
			return nil, fmt.Errorf("migration %s has no Down section", name)
		}
		all = append(all, goose.NewGoMigration(version, statements(schema, up), statements(schema, down)))
	}
	return all, nil
}

func statements(schema migrations.Schema, text string) *goose.GoFunc {
	return &goose.GoFunc{RunTx: func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, schema.SQL(text))
		return err
	}}
}
