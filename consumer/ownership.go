package consumer

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
)

// gates let one thing happen at a time with the partitions. Who waits at one gets
// through in turn.
type gates struct {
	// hand holds one while a batch is applied, or partitions are being given up.
	hand chan struct{}

	// commits holds one while offsets are on their way to the broker: a partition
	// can't be given up between the look at its tenure and the commit.
	commits chan struct{}
}

func newGates() gates {
	return gates{hand: make(chan struct{}, 1), commits: make(chan struct{}, 1)}
}

// whileOwned runs commit. Partitions that are to be given up meanwhile wait.
func (g gates) whileOwned(commit func()) {
	g.commits <- struct{}{}
	defer func() { <-g.commits }()
	commit()
}

// onAssigned is called by the client before it fetches from the partitions, after each
// rebalance, and after onRevoked.
func (r *run) onAssigned(_ context.Context, client *kgo.Client, assigned map[string][]int32) {
	member, _ := client.GroupMetadata()
	r.partitions.assign(member, assigned)
	r.log.assignment("partitions assigned", assigned)
	signal(r.parked)  // how far they are read counts for what is parked
	signal(r.letters) // another worker may have left some
}

// onRevoked is called by the client before the group gives the partitions to
// someone else. It waits for the batch that is applied.
func (r *run) onRevoked(_ context.Context, _ *kgo.Client, revoked map[string][]int32) {
	r.gates.hand <- struct{}{}
	defer func() { <-r.gates.hand }()
	r.commitPending()
	r.giveUp("partitions revoked", revoked)
}

// onLost is called by the client when the group went on without this worker: the
// partitions may be someone else's already.
func (r *run) onLost(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
	r.giveUp("partitions lost", lost)
	r.vitals.lost()
}

func (r *run) giveUp(msg string, partitions map[string][]int32) {
	r.gates.whileOwned(func() { r.partitions.release(partitions) })
	r.log.assignment(msg, partitions)
}
