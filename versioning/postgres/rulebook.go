package postgres

import (
	"regexp"
	"slices"
	"strings"

	"github.com/pawl-go/pawl/versioning"
)

// A rulebook is what the catalog says that a table could refuse or do when a row is
// written. Where it could tell a row that went through several steps in one write from
// one that was written step by step, each step is written by itself: see units.
type rulebook struct {
	everyStep []string // why each step has to reach the table: triggers, row security and the like
	touchy    []bool   // by column: a value may be refused, for itself or for what is in other columns
	reasons   []string // why columns are touchy
	indexed   []bool   // by column: long values may be refused
	unique    []uniqueness
	foreign   []foreignKey
	deferred  []string // quoted names of constraints that are checked at the COMMIT
	triggers  []string // names of the triggers
	ofColumns bool     // some of them are for updates that set certain columns
	derived   []bool   // by column: what a record sets does not tell the value: it is generated, or a trigger may set it
}

// A uniqueness is a unique index or an exclusion constraint: rows of different
// entities can be in each other's way.
type uniqueness struct {
	columns []bool // by column: a new value may take or give up a place in the index
	always  bool   // every step may: the index depends on the state or the version
	exact   []int  // the columns, where equal text, and nothing else, is an equal value
	late    bool   // checked at the end of a statement, not row by row

	nullsEqual bool // two rows with NULL are in each other's way
}

// A foreignKey is one of a table to a table of the same store.
type foreignKey struct {
	columns    []bool   // by column
	relation   uint32   // the referenced table
	references []string // its columns
	parent     *table   // the same, if it is one of the store's; see Store.link
	column     int      // the column that names an entity of the parent by its key; -1: it is named otherwise
	derived    bool     // a row may name another one than what it sets says
}

// mustSet returns the columns that a new row has to set, but the managed ones.
func (t *table) mustSet() (required []int) {
	for i := range t.columns {
		c := &t.columns[i]
		if c.notNull && !c.hasDefault && c.identity == "" && !c.generated && c != t.key && c != t.state && c != t.version {
			required = append(required, i)
		}
	}
	return required
}

// note puts a rule into the rulebook.
func (t *table) note(r aRule) {
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
		t.rules.foreign = append(t.rules.foreign, foreignKey{columns: columns, relation: r.Parent, references: r.ParentColumns})
		t.touch(r, columns, managed, whole)
	default:
		t.touch(r, columns, managed, whole)
	}
}

// noteDerived notes which columns may have other values than what records set, and the
// constraints on them. FoldSteps does without.
func (t *table) noteDerived(rules []aRule) {
	t.rules.derived = make([]bool, len(t.columns))
	for i := range t.columns {
		c := &t.columns[i]
		t.rules.derived[i] = c.generated || !t.FoldSteps && slices.ContainsFunc(rules, func(r aRule) bool {
			return r.Kind == "trigger" && mayAssign(r.Expression, c.name)
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

// isDerived reports whether one of some columns is derived.
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

// mayAssign reports whether a function in PL/pgSQL may give the new row another value
// in a column: it names the column, or does something with the row as a whole.
func mayAssign(source, column string) bool {
	source = returnNew.ReplaceAllString(source, "")
	return wholeNew.MatchString(source) || strings.Contains(strings.ToLower(source), strings.ToLower(strings.ReplaceAll(column, `"`, `""`)))
}

// noteUnique puts a unique index or an exclusion constraint into the rulebook.
func (t *table) noteUnique(r aRule) {
	if len(r.Columns) == 1 && r.Columns[0] == t.Key && r.Expression == "" {
		return // one row for each key is what the fold sees to
	}
	columns, managed, whole := t.dependsOn(r)
	index := uniqueness{columns: columns, always: managed || whole, late: r.Flag, nullsEqual: r.Expression == "nulls"}
	if r.Expression != "not equality" {
		index.exact = t.exactly(r.Columns)
	}
	t.rules.unique = append(t.rules.unique, index)
	t.touch(r, columns, managed, whole)
}

// dependsOn returns which columns a rule depends on, and whether it depends on what
// each step changes, or on the whole row.
func (t *table) dependsOn(r aRule) (columns []bool, managed, whole bool) {
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

// touch notes that the table may refuse what a step makes of some columns.
func (t *table) touch(r aRule, columns []bool, managed, whole bool) {
	switch {
	case whole, managed:
		t.rules.everyStep = append(t.rules.everyStep, r.String())
	case slices.Contains(columns, true):
		t.rules.reasons = append(t.rules.reasons, r.String())
		for i, on := range columns {
			t.rules.touchy[i] = t.rules.touchy[i] || on
		}
	}
}

// exactly returns the columns with the given names, or nil if one of them has values
// that are equal although their texts are not.
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

// link finds the tables of the store that foreign keys of others reference.
func (s *edition) link() {
	for _, t := range s.tables {
		for i := range t.rules.foreign {
			f := &t.rules.foreign[i]
			f.column = -1
			for _, parent := range s.tables {
				if parent.oid != f.relation {
					continue
				}
				f.parent = parent
				if len(f.references) == 1 && f.references[0] == parent.Key {
					f.column = slices.Index(f.columns, true)
				}
			}
		}
	}
}

// Stepwise returns the tables that could tell steps that are written one by one from
// steps that are written as one, so that those of one entity in one batch are written
// one by one. The steps of different entities are written together all the same. See
// [Table.FoldSteps] for a way out.
func (s *Store) Stepwise() []versioning.Stepwise {
	var all []versioning.Stepwise
	for _, t := range s.edition.Load().tables {
		if len(t.rules.everyStep) > 0 || len(t.rules.reasons) > 0 {
			all = append(all, versioning.Stepwise{
				Machine: t.Machine.Name(), Table: t.Name, Always: slices.Clone(t.rules.everyStep), Sometimes: slices.Clone(t.rules.reasons),
			})
		}
	}
	return all
}
