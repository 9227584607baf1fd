package consumer

import (
	"context"
	"time"
)

// leaveTimeout limits how long leaving the group may take. If a member can't leave, its
// partitions stay unread until its session times out.
const leaveTimeout = 5 * time.Second

// leave commits what is pending, leaves the group and closes the client. If the broker does
// not answer, it waits at most commitTimeout to commit and leaveTimeout to leave.
func (r *run) leave() {
	r.committer.commitPending()
	r.client.AllowRebalance() // the client runs a rebalance to leave
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	if err := r.client.LeaveGroupContext(ctx); err != nil {
		r.log.leave(err)
	}
	r.stop() // a join that still waits for the other members would block Close
	r.client.CloseAllowingRebalance()
	// Close polls what is still buffered. That blocks rebalances again, and with them the
	// client's goroutine that leaves the group.
	r.client.AllowRebalance()
}
