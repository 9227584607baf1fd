package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pawl-go/pawl/internal/model"
	"github.com/pawl-go/pawl/statemachine"
)

// Half of the histories also have alarms: records whose transitions emit messages and set
// timers. The workers publish the messages and fire the timers.

const (
	made    statemachine.Event = "made"
	armed   statemachine.Event = "armed"
	rang    statemachine.Event = "rang" // by a timer
	stopped statemachine.Event = "stopped"
	slept   statemachine.Event = "slept" // by a timer

	idle    statemachine.State = "idle"
	pending statemachine.State = "pending"
	ringing statemachine.State = "ringing"
)

// announcements is the topic of the messages. It has some partitions.
const (
	announcements = "announcements"
	announced     = 3
)

const (
	patienceOfAlarm = 4 * time.Second // from when the database has made the transition to pending
	ringsFor        = 3 * time.Second // from when the alarm was due to ring
)

// alarmRow is the row of an alarm.
type alarmRow struct {
	Rings int64 `db:"rings"`
}

// A setting is the data of the event armed.
type setting struct {
	After time.Duration // when to ring, since the record; 0: after patienceOfAlarm
	Louds int           // the number of messages besides the first
}

var alarmDefinition = statemachine.Definition{
	Name: "alarm", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: made, To: idle, Do: statemachine.Do(announce)},
		{Event: armed, From: statemachine.In(idle, pending), To: pending, Do: statemachine.Do(arm)},
		{Event: rang, From: statemachine.In(pending), To: ringing, After: patienceOfAlarm, Do: statemachine.Do(ring)},
		{Event: stopped, From: statemachine.In(pending, ringing), To: idle, Do: statemachine.Do(announce)},
		{Event: slept, From: statemachine.In(ringing), To: idle, After: ringsFor, Clock: statemachine.RecordClock, Do: statemachine.Do(announce)},
		{Event: "thrown away", From: statemachine.In(idle), To: "gone"}, // no message says so
	},
	Terminal: statemachine.In("gone"),
}

var alarm = statemachine.MustCompile(alarmDefinition)

// An announcement is what the messages say.
type announcement struct {
	Event statemachine.Event `json:"event"`
	Time  time.Time          `json:"time"` // of the record
	Index int                `json:"index"`
}

func announce(f *statemachine.Firing, _ *alarmRow, _ struct{}) error {
	f.Emit(announcements, announcement{f.Event, f.Time, 0})
	return nil
}

func arm(f *statemachine.Firing, _ *alarmRow, s setting) error {
	for i := range 1 + s.Louds {
		f.Emit(announcements, announcement{f.Event, f.Time, i})
	}
	if s.After > 0 {
		f.At(rang, f.Time.Add(s.After))
	}
	return nil
}

func ring(f *statemachine.Firing, row *alarmRow, _ struct{}) error {
	row.Rings++
	return announce(f, row, struct{}{})
}

// drawAlarms adds the messages of alarms to the partitions. Alarms are shared by all
// partitions.
func (s *script) drawAlarms(r *rand.Rand) {
	s.alarms = 1 + r.IntN(4)
	for i := range s.alarms {
		s.insert(r, s.drawAlarm(i, -1, made, setting{}), r.IntN(4) > 0)
	}
	for n := range 10 + r.IntN(20) {
		event, data := armed, setting{Louds: r.IntN(3)}
		switch r.IntN(3) {
		case 0:
			event, data = stopped, setting{}
		case 1:
			data.After = upTo(r, 8*time.Second)
		}
		m := s.drawAlarm(r.IntN(s.alarms), n, event, data)
		s.insert(r, m, false)
		if r.IntN(4) == 0 {
			s.insert(r, m, false) // again
		}
	}
	s.drawOutputFaults(r)
}

// drawOutputFaults draws faults for the relays: they die, and the broker refuses what they
// produce.
func (s *script) drawOutputFaults(r *rand.Rand) {
	for i := range s.lives {
		if l := &s.lives[i]; l.ends == crashes && r.IntN(2) == 0 {
			l.where = afterPacks + boundary(r.IntN(2))
		}
	}
	for range r.IntN(4) {
		errs := []*kerr.Error{kerr.NotLeaderForPartition, kerr.RequestTimedOut, kerr.NotEnoughReplicas, kerr.KafkaStorageError}
		s.incidents = append(s.incidents,
			incident{at: upTo(r, length), kind: refuse, key: kmsg.Produce, err: errs[r.IntN(len(errs))], count: 1 + r.IntN(4)},
			incident{at: upTo(r, length), kind: moveLeader, topic: announcements, partition: int32(r.IntN(announced)), node: int32(r.IntN(nodes))})
	}
}

func (s *script) drawAlarm(key, n int, event statemachine.Event, data setting) message {
	m := message{isAlarm: true, setting: data}
	m.ID = fmt.Sprint("alarm-", key, "-", n)
	m.Parts = []model.Part{{Key: fmt.Sprint("alarm-", key), Event: event, Expected: -1}}
	return m
}
