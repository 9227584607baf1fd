package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// coordinatorPatience is how long a group's coordinator may be unavailable. It is for a while
// after it has moved, and in a new cluster until the brokers have made their topic of offsets.
const coordinatorPatience = 30 * time.Second

// askCoordinator calls ask again while the error is that the group's coordinator is not available
// yet. Not all requests of kgo are tried again for that.
func askCoordinator[T any](ctx context.Context, ask func() (T, error)) (T, error) {
	patience := time.NewTimer(coordinatorPatience)
	defer patience.Stop()
	tick := time.Tick(100 * time.Millisecond)
	for {
		answer, err := ask()
		if !errors.Is(err, kerr.CoordinatorNotAvailable) && !errors.Is(err, kerr.CoordinatorLoadInProgress) && !errors.Is(err, kerr.NotCoordinator) {
			return answer, err
		}
		select {
		case <-tick:
		case <-patience.C:
			return answer, err
		case <-ctx.Done():
			return answer, errors.Join(err, ctx.Err())
		}
	}
}

// committed returns the offsets that Config.Group has committed of the topics; none if there is
// no such group.
func (c *Config) committed(ctx context.Context, adm *kadm.Client) (kadm.OffsetResponses, error) {
	committed, err := askCoordinator(ctx, func() (kadm.OffsetResponses, error) {
		all, err := adm.FetchOffsetsForTopics(ctx, c.Group, c.Topics...)
		if err == nil {
			err = all.Error()
		}
		return all, err //nolint:wrapcheck // wrapped below
	})
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, fmt.Errorf("read the offsets of group %q: %w", c.Group, err)
	}
	return committed, nil
}

// checkEmpty returns ErrGroupActive if the group has members. Brokers describe a group of one
// protocol as dead, or as unknown, to those who ask about the other one.
func (c *Config) checkEmpty(ctx context.Context, adm *kadm.Client) error {
	classic, err := askCoordinator(ctx, func() (kadm.DescribedGroup, error) {
		all, err := adm.DescribeGroups(ctx, c.Group)
		if err == nil {
			err = all[c.Group].Err
		}
		return all[c.Group], err //nolint:wrapcheck // wrapped below
	})
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return fmt.Errorf("describe group %q: %w", c.Group, err)
	}
	newer, err := askCoordinator(ctx, func() (kadm.DescribedConsumerGroup, error) { return describeNewer(ctx, adm, c.Group) })
	if err != nil {
		return fmt.Errorf("describe group %q: %w", c.Group, err)
	}
	if members := len(classic.Members) + len(newer.Members); members > 0 {
		return fmt.Errorf("%w: %q has %d", ErrGroupActive, c.Group, members)
	}
	return nil
}

// describeNewer describes a group of the protocol of KIP-848. Others have no members in it, and
// older brokers know no such groups.
func describeNewer(ctx context.Context, adm *kadm.Client, group string) (kadm.DescribedConsumerGroup, error) {
	var none kadm.DescribedConsumerGroup
	versions, err := adm.ApiVersions(ctx)
	if err != nil {
		return none, err //nolint:wrapcheck // the caller says what it is about
	}
	known := false
	versions.Each(func(v kadm.BrokerApiVersions) {
		_, ok := v.KeyMaxVersion(int16(kmsg.ConsumerGroupDescribe))
		known = known || ok
	})
	if !known {
		return none, nil
	}
	all, err := adm.DescribeConsumerGroups(ctx, group)
	if err == nil {
		err = all[group].Err
	}
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) && !errors.Is(err, kerr.UnsupportedVersion) {
		return none, err
	}
	return all[group], nil
}
