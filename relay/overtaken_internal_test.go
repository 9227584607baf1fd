package relay

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/pawl-go/pawl/versioning"
)

// A listing is a store that lists what is deleted and refused. The IDs are those of packs.
type listing struct {
	Store

	deleted, refused []int64
}

func (s *listing) DeletePacks(_ context.Context, packs []versioning.PackRef, _ bool) error {
	for _, p := range packs {
		s.deleted = append(s.deleted, p.ID)
	}
	slices.Sort(s.deleted)
	return nil
}

func (s *listing) RefuseMessages(_ context.Context, pack versioning.PackRef, _ []versioning.Refused, rest []versioning.Emitted) (left versioning.Pack, ok bool, err error) {
	s.refused = append(s.refused, pack.ID)
	return versioning.Pack{PackRef: pack, Messages: rest}, true, nil
}

// An overtaking is a tenure with one lane, whose messages are in flight.
type overtaking struct {
	*tenure

	store listing
	lane  *lane
}

// newOvertaking returns a lane with packs, each with a message for each letter, which is its
// entity.
func newOvertaking(t *testing.T, packs ...string) *overtaking {
	t.Helper()
	o := &overtaking{lane: new(lane)}
	o.tenure = &tenure{
		Relay: &Relay{cfg: Config{Store: &o.store}.withDefaults(), log: &logger{log: slog.Default()}},
		ctx:   t.Context(), workCtx: t.Context(), wake: make(chan struct{}, 1), acks: make(chan struct{}, 1),
	}
	for id, entities := range packs {
		p := versioning.Pack{PackRef: versioning.PackRef{ID: int64(id)}}
		for _, e := range entities {
			p.Messages = append(p.Messages, versioning.Emitted{
				OutMessage: versioning.OutMessage{Topic: "t"}, Entity: versioning.Entity{Machine: "m", Key: string(e)},
			})
		}
		o.lane.packs = append(o.lane.packs, newPack(p))
		o.lane.inFlight += len(entities)
	}
	o.lanes[0] = o.lane
	return o
}

func (o *overtaking) wantDeleted(t *testing.T, want ...int64) {
	t.Helper()
	if err := o.deleteAcked(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, o.store.deleted); diff != "" {
		t.Errorf("deleted packs (-want, +got):\n%s", diff)
	}
}

func (o *overtaking) wantRefused(t *testing.T, want ...int64) {
	t.Helper()
	if err := o.decide(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, o.store.refused); diff != "" {
		t.Errorf("packs of refused messages (-want, +got):\n%s", diff)
	}
}

// TestOvertakerStays checks that what has overtaken a failed message is not deleted before the
// lane decides about that message. Otherwise the message would be sent again, behind it.
func TestOvertakerStays(t *testing.T) {
	t.Parallel()
	o := newOvertaking(t, "a", "a", "b")
	packs := slices.Clone(o.lane.packs)
	o.answered(o.lane, packs[0], 0, kerr.MessageTooLarge)
	o.answered(o.lane, packs[1], 0, nil)
	o.wantDeleted(t)
	o.wantRefused(t)
	o.answered(o.lane, packs[2], 0, nil)
	o.wantDeleted(t)
	o.wantRefused(t, 0)
	select {
	case <-o.acks:
	default:
		t.Error("nobody is told that acknowledged packs may be deleted now")
	}
	o.wantDeleted(t, 1, 2)
}

// TestDecidedBeforeRelease checks that a lane decides about its failed messages before it is
// released. Otherwise the next relay would send them again, behind those that have overtaken
// them.
func TestDecidedBeforeRelease(t *testing.T) {
	t.Parallel()
	for name, packs := range map[string][]string{"two packs": {"a", "a", "b"}, "one pack": {"aab"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { testDecidedBeforeRelease(t, packs) })
		})
	}
}

func testDecidedBeforeRelease(t *testing.T, packs []string) {
	o := newOvertaking(t, packs...)
	var letters []letter
	for _, p := range o.lane.packs {
		for i := range p.Messages {
			letters = append(letters, letter{p, i})
		}
	}
	o.answered(o.lane, letters[0].p, letters[0].i, kerr.ClusterAuthorizationFailed)
	o.answered(o.lane, letters[1].p, letters[1].i, nil)
	released := make(chan struct{})
	go func() {
		o.Release(0)
		close(released)
	}()
	synctest.Wait()
	o.answered(o.lane, letters[2].p, letters[2].i, nil)
	synctest.Wait()
	select {
	case <-released:
		t.Error("the lane is released with a failed message")
	default:
	}
	o.wantRefused(t, 0)
	var others []int64 // packs without the failed message
	for id := range packs[1:] {
		others = append(others, int64(id+1))
	}
	o.wantDeleted(t, others...)
	<-released
}
