package postgres

// A Layout says where a machine's entities are. Its names are quoted for SQL.
type Layout struct {
	Table               string
	Key, State, Version string // columns
	KeyType             string // of the key column, for a cast of its text

	// Data are the columns that the machine's functions may change.
	Data []string
}

// Layout returns the layout of a machine's table. It returns false if the store does not have
// the machine.
func (s *Store) Layout(machine string) (Layout, bool) {
	t := s.snapshot.Load().byMachine[machine]
	if t == nil {
		return Layout{}, false
	}
	l := Layout{Table: t.ident, Key: t.key.sqlName(), State: t.state.sqlName(), Version: t.version.sqlName(), KeyType: t.key.cast}
	if t.rows.hasFields() {
		for i := range t.rows.fields {
			if f := &t.rows.fields[i]; !f.ReadOnly {
				l.Data = append(l.Data, f.column.sqlName())
			}
		}
	}
	return l, true
}
