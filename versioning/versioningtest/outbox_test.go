package versioningtest_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

// A laneLog is a holder that remembers what it was told.
type laneLog struct {
	mu        sync.Mutex
	held      []int
	wakes     int
	connected bool
}

func (l *laneLog) Connected() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.connected = true
}

func (l *laneLog) Take(lane int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = append(l.held, lane)
}

func (l *laneLog) Release(lane int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = slices.DeleteFunc(l.held, func(held int) bool { return held == lane })
}

func (l *laneLog) Wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wakes++
}

func (l *laneLog) lanes() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(slices.Values(l.held))
}

// Holders share the lanes. Those of a holder that leaves or is lost go to the others.
func TestLanes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSetting(t)
		backup := s.Backup()
		var holders [3]laneLog
		var cancels [3]context.CancelFunc
		var ends [3]chan error
		hold := func(i int) {
			var ctx context.Context
			ctx, cancels[i] = context.WithCancel(t.Context())
			ends[i] = make(chan error, 1)
			go func() { ends[i] <- s.HoldLanes(ctx, &holders[i]) }()
			synctest.Wait()
		}
		want := func(sizes ...int) {
			t.Helper()
			var all []int
			for i := range holders {
				lanes := holders[i].lanes()
				if holders[i].connected != (ends[i] != nil) || len(lanes) != sizes[i] {
					t.Errorf("holder %d is connected: %t, and has the lanes %v, want %d", i, holders[i].connected, lanes, sizes[i])
				}
				all = append(all, lanes...)
			}
			if slices.Sort(all); len(slices.Compact(all)) != len(all) {
				t.Errorf("a lane is held twice: %v", all)
			}
		}
		hold(0)
		want(16, 0, 0)
		hold(1)
		want(8, 8, 0)
		hold(2)
		want(6, 6, 4)
		s.deliver("a", events{"arrived"}, "applied")
		if n := holders[0].wakes + holders[1].wakes + holders[2].wakes; n != 1 {
			t.Errorf("%d holders were woken, want 1", n)
		}
		cancels[1]()
		synctest.Wait()
		want(8, 0, 8)
		if err := <-ends[1]; err != nil {
			t.Error(err)
		}
		s.LoseLanes(&holders[0]) // which does not know
		synctest.Wait()
		if lanes := holders[2].lanes(); len(lanes) != 16 {
			t.Errorf("the last one has %v, want all", lanes)
		}
		if err := <-ends[0]; err == nil {
			t.Error("a holder that has lost its lanes is not told")
		}
		s.Restore(backup)
		if err := <-ends[2]; err == nil {
			t.Error("a holder is not told that a backup was restored")
		}
		for _, cancel := range cancels {
			cancel()
		}
	})
}

// A program that publishes the messages of the outbox by hand. Package relay does that for
// real ones.
func ExampleMemory_Packs() {
	ctx := context.Background()
	store := versioningtest.NewMemory(parcel)
	apply(store, asked(0, "p1", "arrived"), asked(1, "p1", "reminded"), asked(2, "p2", "arrived"))
	depth, err := store.OutboxDepth(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(store.Emits(), depth.Packs, "packs with", depth.Messages, "messages")

	lane := versioning.LaneOf(versioning.Entity{Machine: "parcel", Key: "p1"})
	packs, err := store.Packs(ctx, []versioning.Wanted{{Lane: lane, Bytes: 1000}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, m := range packs[0].Messages {
		fmt.Printf("%s: %s\n", m.ID(), m.Value)
	}
	refused := []versioning.Refused{{Emitted: packs[0].Messages[0], Reason: "MESSAGE_TOO_LARGE"}}
	left, ok, err := store.RefuseMessages(ctx, packs[0].PackRef, refused, packs[0].Messages[1:])
	if err != nil || !ok {
		fmt.Println(ok, err)
		return
	}
	for i, pack := range []versioning.PackRef{packs[0].PackRef, left.PackRef} { // the first one is another one now
		durable := i > 0
		err := store.DeletePacks(ctx, []versioning.PackRef{pack}, durable)
		depth, _ := store.OutboxDepth(ctx)
		fmt.Print(err, " ", depth.Packs, "; ")
	}
	deleted, err := store.DeleteTokens(ctx, lane, []int64{left.Token})
	fmt.Print(deleted, " ", err, "; ")
	truncated, err := store.TruncateOutbox(ctx)
	fmt.Print(truncated, " ", err, "; ")
	fmt.Println(len(store.Unsent()), "unsent")
	// Output:
	// payments/0@0 arrived applied
	// payments/0@1 reminded applied
	// payments/0@2 arrived applied
	// true 2 packs with 5 messages
	// parcel/p1/1/0: "arrived"
	// parcel/p1/1/1: 1
	// parcel/p1/2/0: "reminder"
	// <nil> 2; <nil> 1; 0 <nil>; 0 <nil>; 1 unsent
}

// A relay that dies loses its lanes to the others.
func ExampleMemory_LoseLanes() {
	store := versioningtest.NewMemory(parcel)
	ended := make(chan error)
	var relay laneLog
	go func() { ended <- store.HoldLanes(context.Background(), &relay) }()
	for len(relay.lanes()) < versioning.Lanes {
		continue
	}
	store.LoseLanes(&relay)
	fmt.Println(strings.Contains((<-ended).Error(), "lost"))
	// Output: true
}
