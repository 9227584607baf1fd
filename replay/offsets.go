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
	c = c.withDefaults()
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

func (c Config) planOffsets(ctx context.Context, adm *kadm.Client) ([]Move, error) {
	if err := c.checkEmpty(ctx, adm); err != nil {
		return nil, err
	}
	committed, err := adm.FetchOffsetsForTopics(ctx, c.Group, c.Topics...)
	if err == nil {
		err = committed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("read the offsets of group %q: %w", c.Group, err)
	}
	c.Group = "" // not where the group is, but where it shall go
	ranges, _, err := c.findRanges(ctx, adm)
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

// checkEmpty returns ErrGroupActive if the group has members.
func (c *Config) checkEmpty(ctx context.Context, adm *kadm.Client) error {
	members := 0
	classic, err := adm.DescribeGroups(ctx, c.Group)
	if err != nil {
		return fmt.Errorf("describe group %q: %w", c.Group, err)
	}
	of := classic[c.Group]
	members += len(of.Members)
	if of.Err != nil && !errors.Is(of.Err, kerr.GroupIDNotFound) {
		return fmt.Errorf("describe group %q: %w", c.Group, of.Err)
	}
	if of.Err != nil { // it may be a group of KIP-848
		newer, err := adm.DescribeConsumerGroups(ctx, c.Group)
		if err == nil {
			err = newer[c.Group].Err
		}
		if err != nil && !errors.Is(err, kerr.GroupIDNotFound) && !errors.Is(err, kerr.UnsupportedVersion) {
			return fmt.Errorf("describe group %q: %w", c.Group, err)
		}
		members += len(newer[c.Group].Members)
	}
	if members > 0 {
		return fmt.Errorf("%w: %q has %d", ErrGroupActive, c.Group, members)
	}
	return nil
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
	done, err := kadm.NewClient(client).CommitOffsets(ctx, c.Group, offsets)
	if err == nil {
		err = done.Error()
	}
	if err != nil { // a member that has joined meanwhile makes the broker refuse it
		return nil, fmt.Errorf("move the offsets of group %q: %w", c.Group, err)
	}
	return moves, nil
}
