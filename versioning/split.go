package versioning

import "hash/maphash"

// Split deals records out to at most n lists, and at least one, that can be applied
// at the same time: records that share an entity, directly, through records with
// several changes, or through entities that ties name together, are in one list, in
// their order. Ties are those of parked records, which a store knows.
// The records must have been through Prepare. The second result maps each list's
// records back: element i of list s is records[index[s][i]].
func Split(records []*Record, ties [][]Entity, n int) (lists [][]*Record, index [][]int) {
	n = max(n, 1)
	lists, index = make([][]*Record, n), make([][]int, n)
	groups := newGroups(records, ties)
	seed := maphash.MakeSeed()
	for i, r := range records {
		list := 0
		if len(r.Changes) > 0 {
			list = int(maphash.Comparable(seed, groups.of(r)) % uint64(n))
		}
		lists[list] = append(lists[list], r)
		index[list] = append(index[list], i)
	}
	return lists, index
}

// groups joins the entities that records with several changes tie together: a
// forest of disjoint sets. It holds only entities that are tied to others.
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

// of returns the entity that stands for the group of a record.
func (g groups) of(r *Record) Entity { return g.find(r.Entity(0)) }

// find returns the root of an entity's tree, and halves the path on the way.
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
