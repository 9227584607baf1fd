package sim

import (
	"math/rand/v2"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/internal/model"
	"github.com/pawl-go/pawl/versioning"
)

// A script is everything decided before a history runs.
type script struct {
	seed       uint64
	definition model.Definition
	identity   versioning.Identity
	maxParked  int
	protocol   consumer.Protocol

	// shared means that several partitions have messages about the same
	// entities. Then the result depends on timing, and the model cannot compute
	// it.
	shared bool

	messages  [][]message // by partition and offset
	accounts  int         // 0: the history has no transfers
	alarms    int         // 0: the history has no alarms
	lives     []life
	incidents []incident
}

// A message is one record and the time at which it is produced.
type message struct {
	model.Message
	movement // if isMoney
	setting  // if isAlarm

	isMoney bool // it is about accounts, not about the drawn machine
	isAlarm bool // it is about alarms
	at      time.Duration
	garbage garbage
}

// garbage is the way decoding a message fails.
type garbage uint8

const (
	readable garbage = iota
	undecodable
	panics
)

// A life is what happens to one worker.
type life struct {
	joins time.Duration
	ends  ending
	at    time.Duration // for leaves and dies
	where boundary      // for crashes: it dies when it reaches this boundary
	times int           // for the n-th time

	maxBatch      int
	rebalanceHold time.Duration
	applyTimeout  time.Duration
	shutdownGrace time.Duration
	moody         float64 // the probability that the store fails its calls
}

type ending uint8

const (
	stays ending = iota
	leaves
	dies
	crashes
)

// A boundary is a point between two steps of a batch.
type boundary uint8

const (
	beforeDecode boundary = iota
	afterDecode
	beforeFold
	afterFold // before the transaction
	afterTransaction
	afterBatch
	afterMark
	commitSent // not yet answered
	afterCommit
	boundaries

	// betweenLists is after the transaction of one list of a batch and before that of
	// another. The batches of drawn histories are too small for several lists; see
	// TestCrashBetweenLists.
	betweenLists = boundaries

	// Workers of histories with alarms may also die in their relay: when it has read packs,
	// and when it is about to delete those that it has published.
	afterPacks   = boundaries + 1
	beforeDelete = boundaries + 2
)

// An incident is a fault with a start and a duration.
type incident struct {
	at        time.Duration
	lasts     time.Duration
	kind      kind
	worker    int
	topic     string // for moveLeader
	partition int32
	node      int32
	key       kmsg.Key
	err       *kerr.Error
	count     int
}

type kind uint8

const (
	cut    kind = iota // the worker's network: connections reset and refused
	stall              // the worker's network: all traffic blocked
	freeze             // the worker, the next time it is between reading and writing: a zombie
	refuse
	moveCoordinator
	moveLeader
	restore // restore a backup of the database, taken when the incident starts
	kinds
)

const (
	length = 30 * time.Second // of the part with faults
	nodes  = 2
)

// draw draws the script of a seed.
func draw(seed uint64) *script {
	r := rand.New(rand.NewPCG(seed, 1))
	s := &script{seed: seed, maxParked: 1 + r.IntN(3), shared: r.IntN(2) == 0}
	if r.IntN(2) == 0 {
		s.protocol = consumer.Consumer
	}
	s.drawTraffic(r)
	if money := rand.New(rand.NewPCG(seed, 2)); money.IntN(2) == 0 {
		s.drawTransfers(money)
	}
	for i := range 2 + r.IntN(3) {
		s.lives = append(s.lives, drawLife(r, i))
	}
	for range r.IntN(10) {
		s.incidents = append(s.incidents, s.drawIncident(r))
	}
	if outputs := rand.New(rand.NewPCG(seed, 4)); outputs.IntN(2) == 0 {
		s.drawAlarms(outputs)
	}
	return s
}

func (s *script) drawTraffic(r *rand.Rand) {
	machines, versioned := model.Machines(), false
	switch r.IntN(6) {
	case 0:
		versioned = true
	case 1:
		s.identity, versioned = versioning.ByVersion, true
	case 2:
		s.identity, machines = versioning.ByState, model.Trees()
	}
	s.definition = machines.Example(int(r.Uint32()))
	for p := range int32(1 + r.IntN(4)) {
		s.messages = append(s.messages, s.drawPartition(r, p, versioned))
	}
}

// drawPartition draws one partition's messages. It tries to draw at least one.
func (s *script) drawPartition(r *rand.Rand, partition int32, versioned bool) []message {
	var traffic []model.Message
	for range 5 {
		if traffic = model.Traffic(s.definition, partition, versioned).Example(int(r.Uint32())); len(traffic) >= 6 {
			break
		}
	}
	messages := make([]message, len(traffic))
	at := time.Duration(0)
	for i, m := range traffic {
		if r.IntN(3) == 0 {
			at = min(at+upTo(r, length/4), length)
		}
		messages[i] = message{Message: m, at: at}
		if r.IntN(20) == 0 {
			messages[i].garbage = undecodable + garbage(r.IntN(2))
		}
		if s.shared {
			share(messages[i].Parts)
		}
	}
	return messages
}

// share renames entities to names that other partitions use too.
func share(parts []model.Part) {
	for i := range parts {
		_, parts[i].Key, _ = strings.Cut(parts[i].Key, "-")
	}
}

func drawLife(r *rand.Rand, n int) life {
	l := life{
		ends: ending(r.IntN(4)), at: upTo(r, length), where: boundary(r.IntN(int(boundaries))), times: 1 + r.IntN(4),
		maxBatch:      []int{1, 2, 5, 1000}[r.IntN(4)],
		rebalanceHold: []time.Duration{500 * time.Millisecond, 2 * time.Second, 5 * time.Second}[r.IntN(3)],
		applyTimeout:  []time.Duration{2 * time.Second, 10 * time.Second, -1}[r.IntN(3)],
		shutdownGrace: []time.Duration{-1, time.Second, 10 * time.Second}[r.IntN(3)],
		moody:         []float64{0, 0.2, 0.5}[r.IntN(3)],
	}
	if n > 0 {
		l.joins = upTo(r, length/2)
	}
	return l
}

func (s *script) drawIncident(r *rand.Rand) incident {
	t := incident{
		at: upTo(r, length), lasts: upTo(r, 12*time.Second), kind: kind(r.IntN(int(kinds))),
		worker: r.IntN(len(s.lives)), topic: topic, partition: int32(r.IntN(len(s.messages))), node: int32(r.IntN(nodes)),
		count: 1 + r.IntN(4),
	}
	if t.kind == freeze {
		t.lasts += session
	}
	refused := refusals[r.IntN(len(refusals))]
	t.key, t.err = refused.key, refused.errs[r.IntN(len(refused.errs))]
	return t
}

// refusals are the errors that a broker may return for any request.
var refusals = []struct {
	key  kmsg.Key
	errs []*kerr.Error
}{
	{kmsg.Fetch, []*kerr.Error{kerr.NotLeaderForPartition, kerr.KafkaStorageError, kerr.UnknownServerError, kerr.FencedLeaderEpoch}},
	{kmsg.OffsetCommit, []*kerr.Error{
		kerr.RequestTimedOut, // it commits anyway
		kerr.RebalanceInProgress, kerr.NotCoordinator, kerr.CoordinatorNotAvailable,
		kerr.CoordinatorLoadInProgress, kerr.IllegalGeneration, kerr.UnknownMemberID,
	}},
	{kmsg.OffsetFetch, []*kerr.Error{kerr.CoordinatorLoadInProgress, kerr.NotCoordinator}},
	{kmsg.FindCoordinator, []*kerr.Error{kerr.CoordinatorNotAvailable}},
	{kmsg.Heartbeat, []*kerr.Error{kerr.RebalanceInProgress, kerr.UnknownMemberID, kerr.NotCoordinator, kerr.IllegalGeneration}},
	{kmsg.JoinGroup, []*kerr.Error{kerr.CoordinatorLoadInProgress, kerr.NotCoordinator, kerr.UnknownMemberID}},
	{kmsg.SyncGroup, []*kerr.Error{kerr.RebalanceInProgress, kerr.NotCoordinator}},
	{kmsg.ConsumerGroupHeartbeat, []*kerr.Error{kerr.NotCoordinator, kerr.CoordinatorLoadInProgress, kerr.FencedMemberEpoch, kerr.UnknownMemberID}},
}

// upTo draws a duration in whole milliseconds.
func upTo(r *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(r.Int64N(most.Milliseconds()+1)) * time.Millisecond
}
