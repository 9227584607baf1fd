package postgres

import (
	"encoding/binary"
	"hash/fnv"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
)

// This file keeps one fate for each record where two transactions settle it at the
// same time: a worker that has lost its partition and does not know, and the new
// owner; or a redrive and a redelivery. Neither sees what the other has not committed,
// so guards that look for the other's verdict are not enough by themselves.
//
//	                    applies                parks                  buries
//	applies             row and history's key  the sweep              fate lock
//	parks               the sweep              pawl.parked's key      fate lock
//	buries              fate lock              fate lock              pawl.dead_letters' key
//	releases            row and history's key  notApplied, the sweep  fate lock
//	expires             the sweep              notDead                pawl.dead_letters' key
//	redrives            row and history's key  fate lock              fate lock
//
//   - A key: the second one waits for the first one, and then finds its row. It does
//     nothing, or its guard fails and it judges again.
//   - The fate lock: who buries a record holds it exclusively, everyone else shares it.
//     So the second one waits for the first one's end. Its guards come after the lock
//     and see what the first one did: notApplied that the record has made a step,
//     notDead and notBuried that it is a dead letter. A record that was parked meanwhile
//     is no longer: burying removes it.
//   - The sweep: the record has made its step and waits all the same, for an entity that
//     has moved since. So the next sweep judges it, proves it a duplicate and removes it.
//     Nothing is lost or done twice meanwhile. notApplied, which parking asks too, leaves
//     this to transactions that commit in the same moment. To prevent it, parking would
//     have to exclude everyone else, and it is too common for that.
//   - Who releases, expires or redrives a record deletes a row, and is the only one who
//     does so: a second one finds no row, and judges again.
//
// One case can't be seen: a record that a newer decoder made a step of, and that a
// worker with an older decoder buries because it can't read it. It does not know the
// entity whose history to ask. Such a letter goes when the newer decoder meets the
// record again; see revives.

// fateBuckets is how many fate locks there are. A lock stands for the records of many
// partitions: so a transaction takes few of them, however many records it settles.
// They are advisory locks of the database, under numbers that the name of the
// framework's schema makes.
const fateBuckets = 16

// fateLocks are the buckets whose locks a transaction takes: the value is true for those
// that it takes exclusively.
type fateLocks map[int64]bool

// fatesOf returns the locks for what a plan decides about.
func fatesOf(plan *plan) fateLocks {
	locks := make(fateLocks)
	var last *versioning.Origin // most records are of the partition of the one before
	for i := range plan.Moves {
		for j := range plan.Moves[i].Steps {
			at := &plan.Moves[i].Steps[j].Record.Origin
			if last == nil || at.Partition != last.Partition || at.TopicID != last.TopicID {
				locks.share(at)
				last = at
			}
		}
	}
	for _, p := range plan.Park {
		locks.share(&p.Record.Origin)
	}
	for _, settled := range [][]versioning.Settled{plan.Release, plan.Revive} {
		for _, s := range settled {
			locks.share(&s.Record.Origin)
		}
	}
	for _, d := range plan.Dead {
		if _, isDead := plan.letters[d.Record.Origin]; isDead {
			locks.share(&d.Record.Origin) // it stays where it is
		} else {
			locks[fateOf(&d.Record.Origin)] = true
		}
	}
	return locks
}

// fateOf returns the bucket of a record. Partitions that follow each other have
// different ones.
func fateOf(at *versioning.Origin) int64 {
	id := binary.LittleEndian.Uint64(at.TopicID[:8]) ^ binary.LittleEndian.Uint64(at.TopicID[8:])
	id ^= id >> 32
	return int64((id + uint64(at.Partition)) % fateBuckets)
}

func (l fateLocks) share(at *versioning.Origin) {
	if bucket := fateOf(at); !l[bucket] {
		l[bucket] = false
	}
}

// exclude makes all of them exclusive.
func (l fateLocks) exclude() {
	for bucket := range l {
		l[bucket] = true
	}
}

// cover reports whether l holds all that others asks for.
func (l fateLocks) cover(others fateLocks) bool {
	for key, exclusive := range others {
		if held, ok := l[key]; !ok || exclusive && !held {
			return false
		}
	}
	return true
}

// add adds locks, in the stronger of both ways.
func (l fateLocks) add(others fateLocks) {
	for key, exclusive := range others {
		l[key] = l[key] || exclusive
	}
}

// queue queues the statement that takes the locks, in one order for all transactions.
func (l fateLocks) queue(batch *pgx.Batch, own *schema) {
	if len(l) == 0 {
		return
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte("pawl: the fates of schema " + own.String())) // never fails
	space := int64(h.Sum64() &^ (fateBuckets - 1))
	buckets := slices.Sorted(maps.Keys(l))
	keys, exclusive := make(bigints, len(buckets)), make([]bool, len(buckets))
	for i, bucket := range buckets {
		keys[i], exclusive[i] = space|bucket, l[bucket]
	}
	batch.Queue(lockFatesSQL, keys, exclusive)
}

const lockFatesSQL = `
SELECT CASE WHEN u.exclusive THEN pg_advisory_xact_lock(u.key) ELSE pg_advisory_xact_lock_shared(u.key) END
FROM unnest($1::bigint[], $2::boolean[]) AS u(key, exclusive)`
