package versioning

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/pawl-go/pawl/statemachine"
)

// TimerTopic and TimerTopicID are the topic in the origin of a timer's record. No such topic
// exists in Kafka.
const TimerTopic = "pawl.timers"

// TimerTopicID identifies TimerTopic; see there.
var TimerTopicID = [16]byte{0x70, 0x61, 0x77, 0x6c, 0x2d, 0x74, 0x89, 0x6d, 0xa5, 0x72, 0x73, 0, 0, 0, 0, 1}

// firedTimer is the value of a timer's record.
type firedTimer struct {
	Machine string             `json:"machine"`
	Entity  string             `json:"entity"`
	Event   statemachine.Event `json:"event"`
	Armed   int64              `json:"armed_version"`
	Due     time.Time          `json:"due"`
}

// TimerRecord returns the record that makes the event of a due timer happen. It is the same
// for the same timer, so one that fires twice is a duplicate. Its value says in JSON what
// timer it is.
func TimerRecord(e Entity, t Timer) *Record {
	f := firedTimer{e.Machine, e.Key, t.Event, t.Version, t.Due.UTC()}
	value, err := json.Marshal(f)
	if err != nil { // a year that JSON does not know
		value = nil
	}
	r := &Record{Key: []byte(e.Key), Value: value, Timestamp: f.Due, Origin: f.origin()}
	r.Changes = []Change{f.change()}
	return r
}

// IsTimer reports whether the record is of a timer.
func (r *Record) IsTimer() bool { return r.Origin.TopicID == TimerTopicID }

// DecodeTimer returns the change of a timer's record from its value.
func DecodeTimer(r *Record) ([]Change, error) {
	var f firedTimer
	if err := json.Unmarshal(r.Value, &f); err != nil {
		return nil, fmt.Errorf("the record of a timer: %w", err)
	}
	return []Change{f.change()}, nil
}

func (f *firedTimer) change() Change {
	return Change{
		Machine: f.Machine, Key: f.Entity, Event: f.Event, Armed: f.Armed,
		MessageID: "pawl.timer/" + strconv.FormatInt(f.Armed, 10) + "/" + string(f.Event),
	}
}

// origin returns an origin that no other timer has.
func (f *firedTimer) origin() Origin {
	return hashedOrigin(TimerTopic, TimerTopicID, f.Machine, f.Entity, string(f.Event), strconv.FormatInt(f.Armed, 10))
}

// hashedOrigin returns the origin of a record that does not come from Kafka. Its partition and
// offset are a hash of what identifies the record.
func hashedOrigin(topic string, id [16]byte, parts ...string) Origin {
	var text []byte
	for _, part := range parts {
		text = strconv.AppendInt(text, int64(len(part)), 10) // the length keeps ("a", "bc") and ("ab", "c") apart
		text = append(append(text, ':'), part...)
	}
	sum := sha256.Sum256(text)
	return Origin{
		Topic: topic, TopicID: id,
		Partition: int32(binary.BigEndian.Uint32(sum[:]) >> 1), Offset: int64(binary.BigEndian.Uint64(sum[4:]) >> 1),
	}
}
