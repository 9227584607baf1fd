package sim

import (
	"context"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pawl-go/pawl/consumer"
)

// This file adds two things that a real broker does and the in-memory broker
// does not.
//
// A real broker starts a member's session when the member joins. The in-memory
// broker forgets that if the connection breaks at that moment. Then the member,
// which may be dead, keeps its partitions forever.
//
// A real broker waits for a rebalance once, for the rebalance timeout. The
// in-memory broker starts to wait again with each member that joins or leaves,
// so members that give up and join again can keep each other waiting forever.
// The code here ends a rebalance that takes that long, as a moving coordinator
// would: all members must join again.

// phantomAfter is longer than a live member can be silent. A member sends
// nothing while it waits for a rebalance.
const phantomAfter = rebalance + 2*session

// hear records when each member of the classic group was last heard.
func (w *world) hear() {
	for _, key := range []kmsg.Key{kmsg.JoinGroup, kmsg.SyncGroup, kmsg.Heartbeat} {
		w.cluster.ControlKey(int16(key), func(request kmsg.Request) (kmsg.Response, error, bool) {
			w.cluster.KeepControl()
			var member string
			switch r := request.(type) {
			case *kmsg.JoinGroupRequest:
				member = r.MemberID
			case *kmsg.SyncGroupRequest:
				member = r.MemberID
			case *kmsg.HeartbeatRequest:
				member = r.MemberID
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.heard[member] = time.Now()
			return nil, nil, false
		})
	}
}

// expel removes members that were silent for too long. If their rebalance does
// not end, it removes all of them, once the faults have been over for as long.
func (w *world) expel(calmSince time.Time) {
	if w.script.protocol != consumer.Classic || time.Since(calmSince) < phantomAfter {
		return
	}
	info := w.cluster.GroupInfo(group)
	if info == nil {
		return
	}
	if info.State != "PreparingRebalance" {
		w.waiting = time.Time{}
	} else if w.waiting.IsZero() {
		w.waiting = time.Now()
	}
	endless := !w.waiting.IsZero() && time.Since(w.waiting) > 2*phantomAfter
	if endless {
		w.waiting = time.Time{}
		w.cover("endless rebalance")
	}
	for _, m := range info.Members {
		w.mu.Lock()
		heard := w.heard[m.MemberID]
		w.mu.Unlock()
		if endless || time.Since(heard) > phantomAfter {
			w.log.Info("session timed out", slog.String("member", m.MemberID))
			if !endless {
				w.cover("phantom")
			}
			w.expelMember(m.MemberID)
		}
	}
}

func (w *world) expelMember(id string) {
	client, err := kgo.NewClient(kgo.SeedBrokers("localhost:9092"), kgo.Dialer(w.net.DialContext))
	if err != nil {
		panic(err)
	}
	defer client.Close()
	request := kmsg.NewPtrLeaveGroupRequest()
	request.Group = group
	member := kmsg.NewLeaveGroupRequestMember()
	member.MemberID = id
	request.Members = append(request.Members, member)
	if _, err := request.RequestWith(context.Background(), client); err != nil {
		w.log.Info("could not expel", slog.String("member", id), slog.Any("error", err))
	}
}
