package relay

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pawl-go/pawl/internal/pace"
)

// A position is what a lane's last committed transaction has published. Kafka keeps it as the
// metadata of an offset of a consumer group without members: the offset is committed in the
// transaction, on a partition of one of the topics that the transaction produces to, because
// Kafka takes offsets only of topics that exist. The offset itself counts the transactions, so
// of several topics the one with the highest offset is the last.
//
// 256 tokens take 2.7 KiB; Kafka takes 4 KiB unless offset.metadata.max.bytes says less.
type position struct {
	client *kgo.Client
	group  string
	offset int64
	ids    map[string][16]byte // of topics
}

const positionPrefix = "pawl relay 1 "

func encodeTokens(packs []*pack) string {
	var b []byte
	for _, p := range packs {
		b = binary.BigEndian.AppendUint64(b, uint64(p.Token))
	}
	return positionPrefix + base64.RawStdEncoding.EncodeToString(b)
}

var errPosition = errors.New("the position of the lane was not written by a relay; choose another Config.TransactionalID")

func decodeTokens(text string) (tokens []int64, err error) {
	encoded, ok := strings.CutPrefix(text, positionPrefix)
	b, err := base64.RawStdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(b)%8 != 0 {
		return nil, errPosition
	}
	for ; len(b) > 0; b = b[8:] {
		tokens = append(tokens, int64(binary.BigEndian.Uint64(b)))
	}
	return tokens, nil
}

// recover fences earlier sessions and returns the tokens of the packs that the last one
// published.
func (p *position) recover(ctx context.Context) (tokens []int64, err error) {
	if _, _, err := p.client.ProducerID(ctx); err != nil {
		return nil, fmt.Errorf("get a producer ID: %w", err)
	}
	err = retry(ctx, func() error {
		tokens, err = p.fetch(ctx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the position of group %q: %w", p.group, err)
	}
	return tokens, nil
}

func (p *position) fetch(ctx context.Context) (tokens []int64, err error) {
	request := kmsg.NewPtrOffsetFetchRequest()
	request.RequireStable = true
	group := kmsg.NewOffsetFetchRequestGroup()
	group.Group = p.group
	request.Group, request.Groups = p.group, append(request.Groups, group)
	response, err := request.RequestWith(ctx, p.client)
	if err == nil {
		err = kerr.ErrorForCode(response.ErrorCode)
	}
	if errors.Is(err, kerr.GroupIDNotFound) { // nothing was published yet
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, g := range response.Groups {
		if err := kerr.ErrorForCode(g.ErrorCode); err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			return nil, err
		}
		for _, t := range g.Topics {
			for _, part := range t.Partitions {
				if err := kerr.ErrorForCode(part.ErrorCode); err != nil {
					return nil, err
				}
				if part.Offset <= p.offset || part.Metadata == nil {
					continue
				}
				if tokens, err = decodeTokens(*part.Metadata); err != nil {
					return nil, err
				}
				p.offset = part.Offset
			}
		}
	}
	return tokens, nil
}

// commit makes the tokens of packs the lane's position when the transaction is committed.
func (p *position) commit(ctx context.Context, packs []*pack) error {
	topic := ""
	for _, one := range packs {
		if len(one.Messages) > 0 {
			topic = one.Messages[0].Topic
			break
		}
	}
	id, epoch, err := p.client.ProducerID(ctx)
	if err == nil {
		err = retry(ctx, func() error { return p.addOffsets(ctx, id, epoch) })
	}
	if err == nil {
		err = retry(ctx, func() error { return p.commitOffset(ctx, id, epoch, topic, encodeTokens(packs)) })
	}
	if err != nil {
		return fmt.Errorf("write the position of group %q: %w", p.group, err)
	}
	p.offset++
	return nil
}

func (p *position) addOffsets(ctx context.Context, id int64, epoch int16) error {
	request := kmsg.NewPtrAddOffsetsToTxnRequest()
	request.TransactionalID, request.ProducerID, request.ProducerEpoch, request.Group = p.group, id, epoch, p.group
	response, err := request.RequestWith(ctx, p.client)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(response.ErrorCode)
}

func (p *position) commitOffset(ctx context.Context, id int64, epoch int16, topic, metadata string) error {
	topicID, err := p.topicID(ctx, topic)
	if err != nil {
		return err
	}
	request := kmsg.NewPtrTxnOffsetCommitRequest()
	request.TransactionalID, request.Group, request.ProducerID, request.ProducerEpoch = p.group, p.group, id, epoch
	request.Generation = -1
	t := kmsg.NewTxnOffsetCommitRequestTopic()
	t.Topic, t.TopicID = topic, topicID
	part := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	part.Offset, part.Metadata = p.offset+1, &metadata
	t.Partitions = append(t.Partitions, part)
	request.Topics = append(request.Topics, t)
	response, err := request.RequestWith(ctx, p.client)
	if err != nil {
		return err
	}
	for _, t := range response.Topics {
		for _, part := range t.Partitions {
			if err := kerr.ErrorForCode(part.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}

// topicID asks for the ID of a topic, by which newer brokers know it.
func (p *position) topicID(ctx context.Context, topic string) ([16]byte, error) {
	if id, ok := p.ids[topic]; ok {
		return id, nil
	}
	request := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &topic
	request.Topics = append(request.Topics, t)
	response, err := request.RequestWith(ctx, p.client)
	if err != nil {
		return [16]byte{}, err
	}
	for _, t := range response.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return [16]byte{}, err
		}
		if p.ids == nil {
			p.ids = make(map[string][16]byte)
		}
		p.ids[topic] = t.TopicID
	}
	return p.ids[topic], nil
}

// retryFor limits how long a request is retried: within the time of a transaction.
const retryFor = 30 * time.Second

// retry repeats a request while the broker says that it may succeed later.
func retry(ctx context.Context, request func() error) error {
	ctx, cancel := context.WithTimeout(ctx, retryFor)
	defer cancel()
	for {
		err := request()
		if err == nil || !kerr.IsRetriable(err) && !errors.Is(err, kerr.ConcurrentTransactions) {
			return err
		}
		if !pace.Sleep(ctx, 20*time.Millisecond) {
			return err
		}
	}
}
