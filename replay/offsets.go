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
	TopicID   string `json:"topic_id"` // a UUID; empty: MoveOffsets takes any topic of that name
	Partition int32  `json:"partition"`
	From      int64  `json:"from"` // the committed offset; -1 if there is none
	To        int64  `json:"to"`
}

// ErrGroupActive says that a group has members, so that its offsets can't be moved.
var ErrGroupActive = errors.New("the group has members; stop its workers first")

// ErrPlanChanged says that a plan can't be carried out as it was made: the group has committed
// other offsets since, the topic was deleted and created again, or it no longer has the offset that
// the group would go to.
var ErrPlanChanged = errors.New("the plan is out of date; plan again")

// PlanOffsets returns how to move the offsets of Config.Group to Config.From, without those that
// stay. [MoveOffsets] does that. The error is [ErrGroupActive] if the group has members. To see
// what the workers would do then, run DryRun with the same Config, but without Group.
func PlanOffsets(ctx context.Context, c Config) ([]Move, error) {
	c = withDefaults(c)
	client, err := c.clientForGroup()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return c.planOffsets(ctx, kadm.NewClient(client))
}

// clientForGroup returns a client, if the configuration is good for moving a group.
func (c *Config) clientForGroup() (*kgo.Client, error) {
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
	return client, nil
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
		m := Move{r.Topic, r.TopicID, r.Partition, committedAt(committed, r.Topic, r.Partition), r.First}
		if m.From != m.To {
			moves = append(moves, m)
		}
	}
	slices.SortFunc(moves, func(a, b Move) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return moves, nil
}

// MoveOffsets moves the offsets of Config.Group as a plan of [PlanOffsets] says: exactly these
// partitions, to exactly these offsets. Config.From does not matter any more. The workers trust an
// offset that was moved, and do not go back to their marks.
//
// The error is [ErrGroupActive] if the group has members, and [ErrPlanChanged] if the plan is out of
// date. Then nothing is moved. After any other error, some partitions may have been moved: brokers
// commit each partition by itself. Plan again to see which are left.
func MoveOffsets(ctx context.Context, c Config, plan []Move) error {
	c = withDefaults(c)
	client, err := c.clientForGroup()
	if err != nil {
		return err
	}
	defer client.Close()
	adm := kadm.NewClient(client)
	if err := c.checkPlan(ctx, adm, plan); err != nil || len(plan) == 0 {
		return err
	}
	var offsets kadm.Offsets
	for _, m := range plan {
		offsets.Add(kadm.Offset{Topic: m.Topic, Partition: m.Partition, At: m.To, LeaderEpoch: -1})
	}
	_, err = askCoordinator(ctx, func() (kadm.OffsetResponses, error) {
		done, err := adm.CommitOffsets(ctx, c.Group, offsets)
		if err == nil {
			err = done.Error()
		}
		return done, err //nolint:wrapcheck // wrapped below
	})
	if isMember(err) {
		return fmt.Errorf("%w: %q has got one meanwhile: %w", ErrGroupActive, c.Group, err)
	}
	if err != nil {
		return fmt.Errorf("move the offsets of group %q: %w", c.Group, err)
	}
	return nil
}

// checkPlan checks that what a plan says is still true.
func (c *Config) checkPlan(ctx context.Context, adm *kadm.Client, plan []Move) error {
	if err := c.checkEmpty(ctx, adm); err != nil {
		return err
	}
	committed, err := c.committed(ctx, adm)
	if err != nil {
		return err
	}
	ids, err := c.topicIDs(ctx, adm)
	if err != nil {
		return err
	}
	starts, ends, err := c.bounds(ctx, adm)
	if err != nil {
		return err
	}
	for _, m := range plan {
		start, known := starts.Lookup(m.Topic, m.Partition)
		if !known {
			return fmt.Errorf("%w: the plan has partition %d of topic %q, which Topics does not have", ErrConfig, m.Partition, m.Topic)
		}
		if id := ids[m.Topic]; m.TopicID != "" && m.TopicID != id {
			return fmt.Errorf("%w: topic %q was created again: its ID is %s, not %s", ErrPlanChanged, m.Topic, id, m.TopicID)
		}
		if end, _ := ends.Lookup(m.Topic, m.Partition); m.To < start.Offset || m.To > end.Offset {
			return fmt.Errorf("%w: %s/%d would go to %d, but has the offsets from %d to %d", ErrPlanChanged, m.Topic, m.Partition, m.To, start.Offset, end.Offset)
		}
		if from := committedAt(committed, m.Topic, m.Partition); from != m.From {
			return fmt.Errorf("%w: group %q is at %d of %s/%d, not at %d", ErrPlanChanged, c.Group, from, m.Topic, m.Partition, m.From)
		}
	}
	return nil
}

// committedAt returns the committed offset of a partition; -1 if there is none.
func committedAt(committed kadm.OffsetResponses, topic string, partition int32) int64 {
	if at, ok := committed.Lookup(topic, partition); ok {
		return at.At
	}
	return -1
}

// isMember reports whether the broker has refused a commit because only members may make one.
func isMember(err error) bool {
	return errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.IllegalGeneration) || errors.Is(err, kerr.RebalanceInProgress) || errors.Is(err, kerr.StaleMemberEpoch)
}
