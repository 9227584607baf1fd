package postgres

import (
	"regexp"
	"slices"
	"strings"

	"github.com/pawl-go/pawl/versioning"
)

// A rulebook is what the catalog says a table may refuse or do when a row is written.
// If it could tell several steps in one write from steps written one at a time, the
// table needs stepwise writes: see unit.
type rulebook struct {
	everyStep   []string // why every step must reach the table: triggers, row security and the like
	constrained []bool   // by column: a value may be refused, by itself or because of other columns
	reasons     []string // why columns are constrained
	indexed     []bool   // by column: long values may be refused
	unique      []uniqueness
	foreign     []foreignKey
	deferred    []string // quoted names of constraints that are checked at COMMIT
	triggers    []string // names of the triggers
	ofColumns   bool     // some triggers fire only for updates of certain columns
	derived     []bool   // by column: the value may differ from what a record sets, because the column is generated or a trigger may set it
}

// A uniqueness is a unique index or an exclusion constraint: rows of different entities
// may conflict.
type uniqueness struct {
	columns []bool // by column: a new value may take or free a value in the index
	always  bool   // every step may do so: the index depends on the state or the version
	exact   []int  // the columns, if values are equal exactly when their texts are equal
	late    bool   // checked at the end of a statement, not for each row

	nullsEqual bool // two rows with NULL conflict
}

// A foreignKey references a table of the same store.
type foreignKey struct {
	columns    []bool   // by column
	relation   uint32   // the referenced table
	references []string // its columns
	parent     *table   // that table, if it belongs to the store; see link
	column     int      // the column that references an entity of the parent by its key; -1 if there is none
	derived    bool     // the row may reference another row than the one it sets
	cascades   bool     // an update of the referenced row may change the columns
}

// mustSet returns the columns that a new row must set, except the managed ones.
func (t *table) mustSet() (required []int) {
	for i := range t.columns {
		c := &t.columns[i]
		if c.notNull && !c.hasDefault && c.identity == "" && !c.generated && c != t.key && c != t.state && c != t.version {
			required = append(required, i)
		}
	}
	return required
}

// note adds a rule to the rulebook.
func (t *table) note(r catalogRule) {
	columns, managed, whole := t.dependsOn(r)
	switch r.Kind {
	case "trigger":
		t.rules.triggers = append(t.rules.triggers, r.Name)
		t.rules.ofColumns = t.rules.ofColumns || r.Flag
		t.rules.everyStep = append(t.rules.everyStep, r.String())
	case "rule", "row security":
		t.rules.everyStep = append(t.rules.everyStep, r.String())
	case "deferred":
		t.rules.deferred = append(t.rules.deferred, r.Name)
	case "unique":
		t.noteUnique(r)
	case "index":
		for i, on := range columns {
			t.rules.indexed[i] = t.rules.indexed[i] || on
		}
		if !r.Flag {
			t.touch(r, columns, managed, whole)
		}
	case "foreign":
		t.rules.foreign = append(t.rules.foreign, foreignKey{columns: columns, relation: r.Parent, references: r.ParentColumns, cascades: r.Flag})
		t.touch(r, columns, managed, whole)
	default:
		t.touch(r, columns, managed, whole)
	}
}

// noteDerived finds the columns whose values may differ from what records set, and the
// constraints on them. FoldSteps ignores triggers here.
func (t *table) noteDerived(rules []catalogRule) {
	t.rules.derived = make([]bool, len(t.columns))
	for i := range t.columns {
		c := &t.columns[i]
		t.rules.derived[i] = c.generated || !t.FoldSteps && slices.ContainsFunc(rules, func(r catalogRule) bool {
			return r.Kind == "trigger" && mayAssign(r.Expression, c.name) || r.cascadesWithin(t.oid) && slices.Contains(r.Columns, c.name)
		})
	}
	for i := range t.rules.unique {
		if index := &t.rules.unique[i]; t.rules.isDerived(index.columns) {
			index.always, index.exact = true, nil
		}
	}
	for i := range t.rules.foreign {
		f := &t.rules.foreign[i]
		f.derived = t.rules.isDerived(f.columns)
	}
}

// cascadesWithin reports whether an update of a table's row may change the columns of a foreign
// key in the same row: if the row references itself.
func (r catalogRule) cascadesWithin(table uint32) bool {
	return r.Kind == "foreign" && r.Flag && r.Parent == table
}

// isDerived reports whether one of the columns is derived.
func (r *rulebook) isDerived(columns []bool) bool {
	for at, on := range columns {
		if on && r.derived[at] {
			return true
		}
	}
	return false
}

var (
	returnNew = regexp.MustCompile(`(?i)\breturn\s+new\s*;`)
	wholeNew  = regexp.MustCompile(`(?i)\bnew\b\s*([^\s.]|$)|U&"`)
)

// mayAssign reports whether a PL/pgSQL function may change a column of the new row: it
// names the column, or uses the row as a whole.
func mayAssign(source, column string) bool {
	source = returnNew.ReplaceAllString(source, "")
	return wholeNew.MatchString(source) || strings.Contains(strings.ToLower(source), strings.ToLower(strings.ReplaceAll(column, `"`, `""`)))
}

// noteUnique adds a unique index or an exclusion constraint to the rulebook.
func (t *table) noteUnique(r catalogRule) {
	if len(r.Columns) == 1 && r.Columns[0] == t.Key && r.Expression == "" {
		return // the fold already ensures one row per key
	}
	columns, managed, whole := t.dependsOn(r)
	index := uniqueness{columns: columns, always: managed || whole, late: r.Flag, nullsEqual: r.Expression == "nulls"}
	if r.Expression != "not equality" {
		index.exact = t.exactly(r.Columns)
	}
	t.rules.unique = append(t.rules.unique, index)
	t.touch(r, columns, managed, whole)
}

// dependsOn returns which columns a rule depends on, and whether it depends on the
// managed columns, which every step changes, or on the whole row.
func (t *table) dependsOn(r catalogRule) (columns []bool, managed, whole bool) {
	columns = make([]bool, len(t.columns))
	for _, name := range r.Columns {
		i, ok := t.byName[name]
		switch {
		case !ok:
			whole = true
		case &t.columns[i] == t.state, &t.columns[i] == t.version:
			managed = true
		case &t.columns[i] != t.key:
			columns[i] = true
		}
	}
	return columns, managed, whole
}

// touch notes that the table may refuse what a step writes to some columns.
func (t *table) touch(r catalogRule, columns []bool, managed, whole bool) {
	switch {
	case whole, managed:
		t.rules.everyStep = append(t.rules.everyStep, r.String())
	case slices.Contains(columns, true):
		t.rules.reasons = append(t.rules.reasons, r.String())
		for i, on := range columns {
			t.rules.constrained[i] = t.rules.constrained[i] || on
		}
	}
}

// exactly returns the columns with the given names, or nil if one of them may have
// equal values with different texts.
func (t *table) exactly(names []string) (exact []int) {
	for _, name := range names {
		i, ok := t.byName[name]
		if !ok {
			return nil
		}
		if c := &t.columns[i]; !c.exactText || !slices.Contains(keyTypes, c.base) {
			return nil
		}
		exact = append(exact, i)
	}
	return exact
}

// link finds the tables of the store that foreign keys of its tables reference. What a function has
// made of a column may be changed by a write of another row in the same transaction, if that
// cascades.
func (s *snapshot) link() {
	for _, t := range s.tables {
		for i := range t.rules.foreign {
			f := &t.rules.foreign[i]
			f.column = -1
			for _, parent := range s.tables {
				if parent.oid != f.relation {
					continue
				}
				f.parent = parent
				if f.cascades && t.rows.hasFieldOf(f.columns) {
					t.rows.readsBack = true
				}
				if len(f.references) == 1 && f.references[0] == parent.Key {
					f.column = slices.Index(f.columns, true)
				}
			}
		}
	}
}

// Stepwise returns the tables that could tell several steps in one write from steps
// written one at a time. For them, the steps of one entity in one batch are written one
// at a time; the steps of different entities are still written together.
// [Table.FoldSteps] turns this off.
func (s *Store) Stepwise() []versioning.Stepwise {
	var all []versioning.Stepwise
	for _, t := range s.snapshot.Load().tables {
		if len(t.rules.everyStep) > 0 || len(t.rules.reasons) > 0 {
			all = append(all, versioning.Stepwise{
				Machine: t.Machine.Name(), Table: t.Name, Always: slices.Clone(t.rules.everyStep), Sometimes: slices.Clone(t.rules.reasons),
			})
		}
	}
	return all
}
