package consumer

import (
	"context"
	"time"
)

// leaveTimeout bounds how long leaving the group may take. The broker keeps the
// partitions of a member that can't leave until its session times out.
const leaveTimeout = 5 * time.Second

// leave commits what is left, leaves the group and closes the client. It waits
// for a broker that does not answer for commitTimeout and leaveTimeout at most.
func (r *run) leave() {
	r.commitPending()
	r.client.AllowRebalance() // the client leaves by a rebalance of its own
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	if err := r.client.LeaveGroupContext(ctx); err != nil {
		r.log.leave(err)
	}
	r.stop() // a join that still waits for the other members would hold up Close
	r.client.CloseAllowingRebalance()
	// Close polls what is still buffered, which holds up rebalances again, and
	// with them the goroutine by which it leaves the group itself.
	r.client.AllowRebalance()
}
