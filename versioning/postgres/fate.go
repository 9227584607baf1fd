package postgres

import (
	"encoding/binary"
	"hash/fnv"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
)

// This file ensures that each record has one fate even if two transactions settle it at
// the same time: a worker that has lost its partition without knowing it and the new
// owner, or a redrive and a redelivery. Neither sees what the other has not committed,
// so guards that look for the other's verdict are not enough.
//
//	                    applies                parks                  dead-letters
//	applies             row and history's key  the sweep              fate lock
//	parks               the sweep              pawl.parked's key      fate lock
//	dead-letters        fate lock              fate lock              pawl.dead_letters' key
//	releases            row and history's key  notApplied, the sweep  fate lock
//	expires             the sweep              notDead                pawl.dead_letters' key
//	redrives            row and history's key  fate lock              fate lock
//
//   - A key: the second transaction waits for the first, then finds its row. It does
//     nothing, or its guard fails and it judges again.
//   - The fate lock: a transaction that makes a record a dead letter holds it exclusively;
//     all others share it. So the second transaction waits until the first has ended. Its
//     guards come after the lock and see what the first did: notApplied sees that the
//     record has made a step, notDead and stepsNotDead that it is a dead letter. If the
//     record was parked meanwhile, the transaction that dead-letters it unparks it.
//     A batch that was not read proves first that nothing is parked for its entities, then that
//     none of its records is a dead letter. So it sees a record that expires at the same time.
//   - The sweep: the record has made its step but is still parked, for an entity that has
//     moved since. The next sweep judges it, proves that it is a duplicate and removes it.
//     Until then nothing is lost or done twice. notApplied also guards parking, so this
//     happens only if both transactions commit at the same time. To prevent it, parking
//     would have to exclude all others, and it is too common for that.
//   - The record of a timer needs no fate lock: it is settled by the transaction that removes
//     the timer from pawl.timers, or else like a record that is released or redriven.
//   - Releasing, expiring or redriving a record deletes a row, and only one transaction
//     can delete it: the second finds no row, and judges again.
//
// One case is invisible: a newer decoder got a step out of a record, and a worker with
// an older decoder can't decode it and makes it a dead letter. That worker does not
// know which entity's history to check. The dead letter is removed when the newer
// decoder gets the record again; see revives.

// fateBuckets is the number of fate locks. A lock covers the records of many
// partitions, so a transaction takes few locks, however many records it settles. They
// are advisory locks of the database. Their numbers are derived from the name of the
// framework's schema.
const fateBuckets = 16

// fateLocks are the buckets that a transaction locks. The value is true if it locks the
// bucket exclusively.
type fateLocks map[int64]bool

// fatesOf returns the locks that a plan needs.
func fatesOf(plan *versioning.Plan) fateLocks {
	locks := make(fateLocks)
	var last *versioning.Origin // most records have the same partition as the one before
	for i := range plan.Moves {
		for j := range plan.Moves[i].Steps {
			r := plan.Moves[i].Steps[j].Record
			if r.Direct {
				continue // nothing can make it a dead letter
			}
			at := &r.Origin
			if last == nil || at.Partition != last.Partition || at.TopicID != last.TopicID {
				locks.share(at)
				last = at
			}
		}
	}
	for _, p := range plan.Park {
		locks.share(&p.Record.Origin)
	}
	for _, s := range slices.Concat(plan.Release, plan.Revive) {
		locks.share(&s.Record.Origin)
	}
	for _, d := range plan.Dead {
		switch {
		case isDead(d.Record):
			locks.share(&d.Record.Origin) // it stays a dead letter
		case !d.Record.IsTimer():
			locks[fateOf(&d.Record.Origin)] = true
		}
	}
	return locks
}

// fateOf returns the bucket of a record. Consecutive partitions have different buckets.
func fateOf(at *versioning.Origin) int64 {
	id := binary.LittleEndian.Uint64(at.TopicID[:8]) ^ binary.LittleEndian.Uint64(at.TopicID[8:])
	id ^= id >> 32
	return int64((id + uint64(at.Partition)) % fateBuckets)
}

func (l fateLocks) share(at *versioning.Origin) {
	if at.TopicID == versioning.TimerTopicID {
		return
	}
	if bucket := fateOf(at); !l[bucket] {
		l[bucket] = false
	}
}

// exclude makes all locks exclusive.
func (l fateLocks) exclude() {
	for bucket := range l {
		l[bucket] = true
	}
}

// cover reports whether l has all the locks of others, at least as strong.
func (l fateLocks) cover(others fateLocks) bool {
	for key, exclusive := range others {
		if held, ok := l[key]; !ok || exclusive && !held {
			return false
		}
	}
	return true
}

// add adds locks. The stronger mode wins.
func (l fateLocks) add(others fateLocks) {
	for key, exclusive := range others {
		l[key] = l[key] || exclusive
	}
}

// queue queues the statement that takes the locks, in the same order in all
// transactions.
func (l fateLocks) queue(batch *pgx.Batch, own *schema) {
	if len(l) == 0 {
		return
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte("pawl: the fates of schema " + own.String())) // never fails
	space := int64(h.Sum64() &^ (fateBuckets - 1))
	buckets := slices.Sorted(maps.Keys(l))
	keys, exclusive := make(bigints, len(buckets)), make(booleans, len(buckets))
	for i, bucket := range buckets {
		keys[i], exclusive[i] = space|bucket, l[bucket]
	}
	batch.Queue(lockFatesSQL, keys, exclusive)
}

const lockFatesSQL = `
SELECT CASE WHEN u.exclusive THEN pg_advisory_xact_lock(u.key) ELSE pg_advisory_xact_lock_shared(u.key) END
FROM unnest($1::bigint[], $2::boolean[]) AS u(key, exclusive)`
