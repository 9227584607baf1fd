package relay

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
)

// finalErrors say that a message can never be published as it is. Brokers return them for a
// whole batch, so the relay believes them only of a message that it has sent alone.
var finalErrors = []*kerr.Error{
	kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp,
	kerr.InvalidTopicException, kerr.PolicyViolation, kerr.UnsupportedForMessageFormat,
}

// topicErrors say that somebody has to do something about a topic. Messages wait for that for
// Config.Patience.
var topicErrors = []*kerr.Error{
	kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.TopicAuthorizationFailed,
}

func isOneOf(err error, errs []*kerr.Error) bool {
	for _, one := range errs {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}

// reasonOvertaken is the reason of a message that failed while a later one of its entity
// arrived. If it were sent again, it would be out of order.
const reasonOvertaken = "OVERTAKEN"

// reasonOf returns the name of Kafka's error.
func reasonOf(err error) string {
	if k, ok := errors.AsType[*kerr.Error](err); ok {
		return k.Message
	}
	return "UNKNOWN"
}

// errNotSent is the error of a message that was not sent, because one before it must be sent
// first.
var errNotSent = errors.New("not sent, because a message before it has failed")
