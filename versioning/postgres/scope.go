package postgres

import (
	"slices"
	"strings"

	"github.com/pawl-go/pawl/versioning"
)

// scope returns what distinguishes stored records of one origin: the machine of the
// record's first change, or all machines of the store if there is no change or its
// machine is unknown. Workers that consume one topic for different machines must not
// mistake each other's dead letters for their own.
func (s *snapshot) scope(r *versioning.Record) string {
	if kept := preparedOf(r).kept; kept != nil && !r.Redrive {
		return *kept
	}
	if len(r.Changes) > 0 && s.byMachine[r.Changes[0].Machine] != nil {
		return r.Changes[0].Machine
	}
	return s.allMachines()
}

// allMachines is the scope of a record that may be for any machine of the store.
func (s *snapshot) allMachines() string {
	return strings.Join(slices.Sorted(slices.Values(s.machines())), ",")
}

// isDeadLetterOf reports whether a dead letter with the record's origin and the given
// scope is the record's own: their scopes are equal, or the dead letter was stored when
// the record could not be decoded. If the record can't be decoded now, every dead letter
// counts that may come from the store's machines.
//
// Earlier versions gave undecodable records no scope. Such a dead letter may belong to
// a worker for other machines, which can't decode the record yet. So it prevents a
// second dead letter for the record, but only a redrive removes it.
func (s *snapshot) isDeadLetterOf(r *versioning.Record, scope string) bool {
	if r.Redrive {
		kept := preparedOf(r).kept
		return kept != nil && scope == *kept
	}
	return scope == s.scope(r) || r.Err != nil || strings.Contains(scope, ",")
}

// deadScope returns the scope of a record's dead letter.
func (s *snapshot) deadScope(r *versioning.Record) string {
	switch p := preparedOf(r); {
	case p.dead != nil:
		return *p.dead
	case r.Redrive && p.kept != nil:
		return *p.kept
	}
	return s.scope(r)
}
