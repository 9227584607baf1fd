package statemachine

// Compile checks d and compiles it into a [Machine]. It copies d, so the caller
// may change d afterwards.
//
// The error is a *[DefinitionError] that lists every problem as a *[Problem]. A
// misspelt state is reported once: the reachability checks use the state that
// was probably meant.
func Compile(d Definition) (*Machine, error) {
	d = d.clone()
	if err := validate(d); err != nil {
		return nil, err
	}
	m := newMachine(d)
	if err := m.fillTable(); err != nil {
		return nil, err
	}
	m.attachGuards()
	g := newGraph(m)
	m.classify(g)
	m.checkIdentity(g)
	return m, nil
}

// MustCompile is [Compile] for package variables; it panics with the error.
func MustCompile(d Definition) *Machine {
	m, err := Compile(d)
	if err != nil {
		panic(err)
	}
	return m
}

// attachGuards sets the guard of each legal cell.
func (m *Machine) attachGuards() {
	for i, t := range m.def.Transitions {
		if t.Guard == nil {
			continue
		}
		for _, from := range t.sources() {
			m.cells[m.rows[from]+m.columns[t.Event]].guard = uint32(i + 1)
		}
	}
}

// classify sets the class of every cell.
func (m *Machine) classify(g *graph) {
	for s := range m.states {
		for e := range m.events {
			m.at(s, e).class = g.class(uint16(s), uint16(e))
		}
	}
}
