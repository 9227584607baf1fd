package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A Move is a partition whose group begins somewhere else.
type Move struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	From      int64  `json:"from"` // the committed offset; -1 if there is none
	To        int64  `json:"to"`
}

// ErrGroupActive says that a group has members, so that its offsets can't be moved.
var ErrGroupActive = errors.New("the group has members; stop its workers first")

// PlanOffsets returns how [MoveOffsets] would move the offsets of Config.Group to Config.From, without those that
// stay. The error is [ErrGroupActive] if the group has members. To see what the workers would do
// then, run DryRun with the same Config, but without Group.
func PlanOffsets(ctx context.Context, c Config) ([]Move, error) {
	c = withDefaults(c)
	if err := c.validate(); err != nil {
		return nil, err
	}
	if c.Group == "" {
		return nil, fmt.Errorf("%w: Group is empty; name the group whose offsets are moved", ErrConfig)
	}
	client, err := kgo.NewClient(c.Client...)
	if err != nil {
		return nil, fmt.Errorf("%w: Client: %w", ErrConfig, err)
	}
	defer client.Close()
	return c.planOffsets(ctx, kadm.NewClient(client))
}

func (c *Config) planOffsets(ctx context.Context, adm *kadm.Client) ([]Move, error) {
	if err := c.checkEmpty(ctx, adm); err != nil {
		return nil, err
	}
	committed, err := c.committed(ctx, adm)
	if err != nil {
		return nil, err
	}
	target := *c
	target.Group = "" // not where the group is, but where it shall go
	ranges, _, err := target.findRanges(ctx, adm)
	if err != nil {
		return nil, err
	}
	var moves []Move
	for _, r := range ranges {
		m := Move{r.Topic, r.Partition, -1, r.First}
		if at, ok := committed.Lookup(r.Topic, r.Partition); ok {
			m.From = at.At
		}
		if m.From != m.To {
			moves = append(moves, m)
		}
	}
	slices.SortFunc(moves, func(a, b Move) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return moves, nil
}

// MoveOffsets moves the offsets of Config.Group to Config.From, as PlanOffsets says, and returns what it has moved. The
// workers trust an offset that was moved, and do not go back to their marks. The error is
// [ErrGroupActive] if the group has members.
func MoveOffsets(ctx context.Context, c Config) ([]Move, error) {
	moves, err := PlanOffsets(ctx, c)
	if err != nil || len(moves) == 0 {
		return nil, err
	}
	client, err := kgo.NewClient(c.Client...)
	if err != nil {
		return nil, fmt.Errorf("%w: Client: %w", ErrConfig, err)
	}
	defer client.Close()
	var offsets kadm.Offsets
	for _, m := range moves {
		offsets.Add(kadm.Offset{Topic: m.Topic, Partition: m.Partition, At: m.To, LeaderEpoch: -1})
	}
	adm := kadm.NewClient(client)
	_, err = askCoordinator(ctx, func() (kadm.OffsetResponses, error) {
		done, err := adm.CommitOffsets(ctx, c.Group, offsets)
		if err == nil {
			err = done.Error()
		}
		return done, err //nolint:wrapcheck // wrapped below
	})
	if isMember(err) {
		return nil, fmt.Errorf("%w: %q has got one meanwhile: %w", ErrGroupActive, c.Group, err)
	}
	if err != nil {
		return nil, fmt.Errorf("move the offsets of group %q: %w", c.Group, err)
	}
	return moves, nil
}

// isMember reports whether the broker has refused a commit because only members may make one.
func isMember(err error) bool {
	return errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.IllegalGeneration) || errors.Is(err, kerr.RebalanceInProgress) || errors.Is(err, kerr.StaleMemberEpoch)
}
