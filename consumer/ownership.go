package consumer

import (
	"context"
	"errors"
	"maps"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A partition is one of a topic.
type partition struct {
	topic string
	id    int32
}

// A tenure is one stretch of time for which a partition is this worker's. What
// was polled in one tenure is not committed in another: in between the partition
// was someone else's, who may be further on. 0 is none.
type tenure uint64

// ownership knows which partitions are this worker's. The client's callbacks
// write it; the run reads it.
type ownership struct {
	// hand holds one while a batch is in hand, or partitions are being given up.
	// Who waits for it gets it in turn.
	hand chan struct{}

	// commits holds one while offsets are on their way to the broker: a partition
	// can't be given up between the look at its tenure and the commit.
	commits chan struct{}

	mu     sync.Mutex
	member string // the ID of the group's member that this worker was at the last assignment
	last   tenure
	now    map[partition]tenure
}

func newOwnership() *ownership {
	return &ownership{hand: make(chan struct{}, 1), commits: make(chan struct{}, 1), now: make(map[partition]tenure)}
}

// whileOwned runs commit. Partitions that are to be given up meanwhile wait.
func (o *ownership) whileOwned(commit func()) {
	o.commits <- struct{}{}
	defer func() { <-o.commits }()
	commit()
}

func (o *ownership) assign(member string, partitions map[string][]int32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.member = member
	for topic, ids := range partitions {
		for _, id := range ids {
			o.last++
			o.now[partition{topic, id}] = o.last
		}
	}
}

func (o *ownership) release(partitions map[string][]int32) {
	o.whileOwned(func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		for topic, ids := range partitions {
			for _, id := range ids {
				delete(o.now, partition{topic, id})
			}
		}
	})
}

// releaseTopic ends the tenures of a topic's partitions.
func (o *ownership) releaseTopic(topic string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for p := range o.now {
		if p.topic == topic {
			delete(o.now, p)
		}
	}
}

// of returns the tenure of a partition, or 0 if it is not this worker's.
func (o *ownership) of(p partition) tenure {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.now[p]
}

// errAnotherMember says that a commit was kept back. A member that the group has
// forgotten joins again as another one, and learns only then what it has lost meanwhile:
// franz-go (1.22.2) reports partitions as revoked, not as lost, that have been someone
// else's for a while, and makes a commit wait for the new membership.
var errAnotherMember = errors.New("the group has forgotten the member to which the partitions were assigned")

// checkMember fails for a commit of another member.
func (o *ownership) checkMember(commit *kmsg.OffsetCommitRequest) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if commit.MemberID != o.member {
		return errAnotherMember
	}
	return nil
}

// onAssigned is called by the client before it fetches from the partitions, after each
// rebalance, and after onRevoked.
func (r *run) onAssigned(_ context.Context, client *kgo.Client, partitions map[string][]int32) {
	member, _ := client.GroupMetadata()
	r.owned.assign(member, partitions)
	r.vitals.joined(partitions)
	r.log.assignment("partitions assigned", partitions)
	signal(r.parked)  // how far they are read counts for what is parked
	signal(r.letters) // another worker may have left some
}

// onRevoked is called by the client before the group gives the partitions to
// someone else. It waits for the batch in hand.
func (r *run) onRevoked(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
	r.owned.hand <- struct{}{}
	defer func() { <-r.owned.hand }()
	r.commitPending()
	r.giveUp("partitions revoked", partitions)
}

// onLost is called by the client when the group went on without this worker: the
// partitions may be someone else's already.
func (r *run) onLost(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
	r.giveUp("partitions lost", partitions)
	r.vitals.lost()
}

// all returns the tenures of the worker's partitions.
func (o *ownership) all() map[partition]tenure {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.now)
}

func (r *run) giveUp(msg string, partitions map[string][]int32) {
	r.owned.release(partitions)
	r.reading.forget(partitions)
	r.vitals.gaveUp(partitions)
	r.log.assignment(msg, partitions)
}
