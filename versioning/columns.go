package versioning

import (
	"context"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A column is a value of Change.Set, in the text form of its PostgreSQL type.
// Text is what every type has: one array of text for each column carries the
// values of a whole batch, arrays and composites included.
type column struct {
	at   int // index in table.columns
	text string
	null bool
}

// types encodes Go values as the text of a PostgreSQL type.
type types struct {
	mu  sync.Mutex // pgtype.Map caches plans and is not safe for concurrent use
	typ *pgtype.Map
}

// learn registers the types of a table's columns that pgx does not know from
// the start: enums, composites, ranges and arrays of them. A type that can't be
// loaded takes its values as text.
func (t *types) learn(ctx context.Context, conn *pgxpool.Conn, table *table) {
	for i := range table.columns {
		c := &table.columns[i]
		if _, known := t.typ.TypeForOID(c.base); known || len(c.labels) > 0 {
			continue
		}
		if typ, err := conn.Conn().LoadType(ctx, c.typeName); err == nil {
			t.typ.RegisterType(typ)
		}
	}
}

// encode returns the columns that a change sets.
func (t *types) encode(table *table, set Columns) ([]column, error) {
	columns := make([]column, 0, len(set))
	for name, value := range set {
		i, ok := table.byName[name]
		if !ok {
			return nil, refuse(ReasonInvalidColumn, "table %s has no column %q", table.Name, name)
		}
		c := &table.columns[i]
		if c == table.key || c == table.state || c == table.version {
			return nil, refuse(ReasonInvalidColumn, "column %q of table %s is the framework's to write", name, table.Name)
		}
		if c.generated || c.identity == "a" {
			return nil, refuse(ReasonInvalidColumn, "column %q of table %s is generated", name, table.Name)
		}
		text, null, err := t.text(c, value)
		if err != nil {
			return nil, refuse(ReasonInvalidColumn, "column %q of table %s: %w", name, table.Name, err)
		}
		columns = append(columns, column{at: i, text: text, null: null})
	}
	return columns, nil
}

func (t *types) text(c *tableColumn, value any) (text string, null bool, err error) {
	if value == nil {
		return "", true, nil
	}
	if s, ok := value.(string); ok {
		text = s
	} else {
		t.mu.Lock()
		buf, err := t.typ.Encode(c.base, pgtype.TextFormatCode, value, nil)
		t.mu.Unlock()
		if err != nil || buf == nil {
			return "", buf == nil, err
		}
		text = string(buf)
	}
	if !storableText(text) {
		return "", false, fmt.Errorf("the value is %w", errKeyText)
	}
	return text, false, nil
}
