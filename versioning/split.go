package versioning

// Split distributes records to at most n lists, and at least one, that can be applied
// concurrently. Records that share an entity are in one list, in their order. They may
// share it directly, through records with several changes, or through ties: the
// entities of a tie belong together because of a parked record, which a store knows.
// The records must have been prepared. The second result maps the records of the lists
// back: element i of list s is records[index[s][i]].
func Split(records []*Record, ties [][]Entity, n int) (lists [][]*Record, index [][]int) {
	n = max(n, 1)
	lists, index = make([][]*Record, n), make([][]int, n)
	groups := newGroups(records, ties)
	for i, r := range records {
		list := 0
		if len(r.Changes) > 0 {
			list = int(groups.of(r).hash() % Digester(n))
		}
		lists[list] = append(lists[list], r)
		index[list] = append(index[list], i)
	}
	return lists, index
}

// hash returns a hash of the entity.
func (e Entity) hash() Digester {
	d := Digester(digestOffset)
	d.text(e.Machine)
	d.text(e.Key)
	return d
}

// groups is a disjoint-set forest of the entities that records with several changes tie
// together. It holds only entities that are tied to others.
type groups map[Entity]Entity

func newGroups(records []*Record, ties [][]Entity) groups {
	g := make(groups)
	for _, r := range records {
		for i := 1; i < len(r.Changes); i++ {
			g.join(r.Entity(0), r.Entity(i))
		}
	}
	for _, tie := range ties {
		for i := 1; i < len(tie); i++ {
			g.join(tie[0], tie[i])
		}
	}
	return g
}

func (g groups) join(a, b Entity) {
	if a, b = g.find(a), g.find(b); a != b {
		g[b] = a
	}
}

// of returns the representative of a record's group.
func (g groups) of(r *Record) Entity { return g.find(r.Entity(0)) }

// find returns the root of an entity's tree. It halves the path as it goes.
func (g groups) find(e Entity) Entity {
	for {
		parent, ok := g[e]
		if !ok {
			return e
		}
		if grand, ok := g[parent]; ok {
			g[e] = grand
		}
		e = parent
	}
}
