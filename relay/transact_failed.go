package relay

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/pawl-go/pawl/internal/pace"
	"github.com/pawl-go/pawl/versioning"
)

// failed decides about the messages of an aborted transaction.
func (x *transactor) failed(ctx context.Context, packs []*pack) error {
	var rest failures
	for _, p := range packs {
		var refused []versioning.Refused
		var left []int
		for i := range p.Messages {
			err := x.state(p, i).err
			if isOneOf(err, finalErrors) && !x.alone {
				x.alone = true
				return errAlone
			}
			if x.isRefused(p.Messages[i].Topic, err) {
				refused = append(refused, versioning.Refused{Emitted: p.Messages[i], Reason: reasonOf(err), Detail: err.Error()})
				continue
			}
			left = append(left, i)
			rest.add(p.Messages[i].Topic, err)
		}
		if len(refused) > 0 {
			if err := x.refuse(ctx, x.lane, p, refused, left); err != nil {
				return err
			}
		}
	}
	if rest.later && !pace.Sleep(ctx, x.cfg.RetryMax) {
		return ctx.Err()
	}
	if rest.other == nil && rest.anew {
		return errAnew
	}
	return rest.other
}

// failures says why messages that are to be sent again have failed.
type failures struct {
	later bool  // somebody has to do something about a topic
	anew  bool  // which the client does not notice
	other error // none of these
}

// add adds the error of a message; nil if it has none.
func (f *failures) add(topic string, err error) {
	isTopic := isOneOf(err, topicErrors)
	f.later = f.later || isTopic
	f.anew = f.anew || errors.Is(err, kerr.UnknownTopicID)
	if err != nil && !errors.Is(err, errNotSent) && !isTopic {
		f.other = fmt.Errorf("produce to topic %q: %w", topic, err)
	}
}

// isRefused reports whether a message with an error becomes an unsent message.
func (x *transactor) isRefused(topic string, err error) bool {
	return isOneOf(err, finalErrors) || isOneOf(err, topicErrors) && x.isHopeless(topic, err)
}
