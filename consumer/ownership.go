package consumer

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
)

// gates are locks that order what happens to the partitions. They are channels of capacity
// 1, so waiting goroutines get through in turn.
type gates struct {
	// batch is held while a batch is applied, and while partitions are being given up.
	batch chan struct{}

	// commits is held while offsets are committed, so that no partition is given up
	// between the check of its tenure and the commit.
	commits chan struct{}
}

func newGates() gates {
	return gates{batch: make(chan struct{}, 1), commits: make(chan struct{}, 1)}
}

// whileOwned runs commit. No partition is given up until it returns.
func (g gates) whileOwned(commit func()) {
	g.commits <- struct{}{}
	defer func() { <-g.commits }()
	commit()
}

// onAssigned is called by the client after each rebalance: after onRevoked, and before it
// fetches from the partitions.
func (r *run) onAssigned(_ context.Context, client *kgo.Client, assigned map[string][]int32) {
	member, _ := client.GroupMetadata()
	r.partitions.assign(member, assigned)
	r.vitals.joined()
	r.log.assignment("partitions assigned", assigned)
	r.maintainer.assigned()
}

// onRevoked is called by the client before the group assigns the partitions to another
// worker. It waits until the hold of the current batch ends.
func (r *run) onRevoked(_ context.Context, _ *kgo.Client, revoked map[string][]int32) {
	r.gates.batch <- struct{}{}
	defer func() { <-r.gates.batch }()
	r.committer.commitPending()
	r.giveUp("partitions revoked", revoked)
}

// onLost is called by the client when the group has given up this worker. It commits nothing,
// because another worker may own the partitions already.
func (r *run) onLost(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
	r.giveUp("partitions lost", lost)
	r.vitals.lost()
}

func (r *run) giveUp(msg string, partitions map[string][]int32) {
	r.gates.whileOwned(func() { r.partitions.release(partitions) })
	r.log.assignment(msg, partitions)
}
