package main

import "fmt"

// fates checks that each record has exactly one final verdict, and the right
// one.
func (j *judgement) fates(l *ledger, e evidence) {
	moved := make(map[place]int) // entities that a record moved
	byID := make(map[string]int) // entities that a message moved, with any record
	for _, s := range e.steps {
		moved[place{s.Partition, s.Offset}]++
		byID[s.MessageID]++
	}
	waiting, buried := count(e.parked), count(e.dead)
	for i := range l.entries {
		r := &l.entries[i]
		got := func() string {
			return fmt.Sprintf("steps of record %v (message %s, %+v): %d, of its message: %d, parked: %d, dead letters: %d",
				r.at, r.id, r.body, moved[r.at], byID[r.id], waiting[r.at], buried[r.at])
		}
		switch r.fate {
		case applied:
			switch asks := entities(r.body); {
			case byID[r.id] < asks:
				j.report(&j.lost, "must be applied, but was not: %s", got())
			case moved[r.at] != 0 && moved[r.at] != asks:
				j.report(&j.wrong, "must be applied completely: %s", got())
			case waiting[r.at]+buried[r.at] > 0:
				j.report(&j.wrong, "was applied, but has a second verdict: %s", got())
			}
		case parked:
			j.kept(waiting[r.at], buried[r.at]+moved[r.at], "must be parked", got)
		case decided: // see audit
		case timed:
			j.either(moved[r.at]+buried[r.at], byID[r.id], waiting[r.at], got)
		case dead:
			j.kept(buried[r.at], waiting[r.at]+moved[r.at], "must be a dead letter", got)
		}
		delete(waiting, r.at)
		delete(buried, r.at)
	}
	for at := range waiting {
		j.report(&j.wrong, "record %v is parked, but not in the ledger", at)
	}
	for at := range buried {
		j.report(&j.wrong, "record %v is a dead letter, but not in the ledger", at)
	}
}

// either checks a record that must be applied or a dead letter: of the records with its ID, the
// others may do nothing.
func (j *judgement) either(verdicts, byID, waiting int, got func() string) {
	switch {
	case verdicts == 0 && byID == 0:
		j.report(&j.lost, "must be applied or a dead letter: %s", got())
	case verdicts > 1 || waiting > 0:
		j.report(&j.wrong, "must be applied or a dead letter: %s", got())
	}
}

// kept checks a record that must be in one table and in no other.
func (j *judgement) kept(there, elsewhere int, what string, got func() string) {
	switch {
	case there == 0 && elsewhere == 0:
		j.report(&j.lost, "%s: %s", what, got())
	case there != 1 || elsewhere != 0:
		j.report(&j.wrong, "%s: %s", what, got())
	}
}

func entities(m message) int {
	if m.Transfer != "" {
		return 3
	}
	return 1
}

func count(all []place) map[place]int {
	n := make(map[place]int, len(all))
	for _, at := range all {
		n[at]++
	}
	return n
}
