package replay_test

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/replay"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A new cluster has no coordinator until it has made the topic of offsets.
func TestCoordinatorNotThereYet(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "cases"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	cfg := replay.Config{
		Client: []kgo.Opt{kgo.SeedBrokers(cluster.ListenAddrs()...)}, Topics: []string{"cases"}, Group: "workers",
		Pool: testenv.Pool(t, withCases), Tables: []postgres.Table{{Machine: notes, Name: "cases"}}, Decode: decode,
		From: replay.From{Offsets: map[string]map[int32]int64{"cases": {1: 0}}},
	}
	var missing atomic.Int32 // how often the coordinator is still missing
	cluster.ControlKey(int16(kmsg.FindCoordinator), func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if missing.Add(-1) < 0 {
			return nil, nil, false
		}
		asked := request.(*kmsg.FindCoordinatorRequest) //nolint:forcetypeassert // it is that key
		response := asked.ResponseKind().(*kmsg.FindCoordinatorResponse)
		response.ErrorCode = kerr.CoordinatorNotAvailable.Code
		for _, key := range asked.CoordinatorKeys {
			response.Coordinators = append(response.Coordinators, kmsg.FindCoordinatorResponseCoordinator{Key: key, ErrorCode: kerr.CoordinatorNotAvailable.Code})
		}
		return response, nil, true
	})
	missing.Store(3)
	if _, err := replay.Verify(t.Context(), cfg); !errors.Is(err, replay.ErrConfig) {
		t.Errorf("a verification up to the offsets of a group that has none: %v", err)
	}
	missing.Store(3)
	moves, err := replay.PlanOffsets(t.Context(), cfg)
	if err != nil || len(moves) == 0 {
		t.Errorf("%v, %v", moves, err)
	}
	missing.Store(3)
	if err := replay.MoveOffsets(t.Context(), cfg, moves); err != nil {
		t.Error(err)
	}
}
