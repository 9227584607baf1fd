package versioningtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawl-go/pawl/versioning"
)

// runBatch runs a case in one batch.
func runBatch(t *testing.T, open Open, says ...string) *script {
	t.Helper()
	var c suiteCase
	for _, say := range says {
		c.steps = append(c.steps, step{say: say})
	}
	s := newScript(t, open, c)
	s.batch(s.records()...)
	return s
}

func checkHistory(t *testing.T, open Open) {
	s := runBatch(t, open, "order/a captured", "order/a placed id=m1", "order/a shipped at=2 id=m2 + account/x opened")
	want := []Transition{
		{Version: 1, Event: "placed", From: "", To: "pending", MessageID: "m1", Origin: originOf(1), Definition: 3},
		{Version: 2, Event: "captured", From: "pending", To: "paid", MessageID: originOf(0).ID(), Origin: originOf(0), Definition: 3},
		{Version: 3, Event: "shipped", From: "paid", To: "shipped", MessageID: "m2", Origin: originOf(2), Definition: 3},
	}
	if diff := cmp.Diff(want, s.History(entity("order/a"))); diff != "" {
		t.Errorf("history (-want, +got):\n%s", diff)
	}
	if h := s.History(entity("order/nosuch")); len(h) > 0 {
		t.Errorf("history of an entity that never existed: %v", h)
	}
}

// checkColumns checks that the columns set by the steps of a batch, of one entity and
// of several, reach the rows, and that the last value wins.
func checkColumns(t *testing.T, open Open) {
	s := runBatch(t, open,
		"order/late captured note=early",
		"order/a placed note=one",
		"order/b placed",
		"order/a captured place=here",
		"order/a shipped note=two",
		"order/c placed place=there",
		"order/late placed place=born",
	)
	for name, want := range map[string]versioning.Columns{
		"order/a":    {"note": "two", "place": "here"},
		"order/b":    nil,
		"order/c":    {"place": "there"},
		"order/late": {"note": "early", "place": "born"},
	} {
		row, ok := s.Row(entity(name))
		if diff := cmp.Diff(want, row.Columns); !ok || diff != "" {
			t.Errorf("%s: exists: %t; columns (-want, +got):\n%s", name, ok, diff)
		}
	}
	s.all[4].Changes[0].Set["note"] = nil
	r := &versioning.Record{Origin: originOf(99), Changes: []versioning.Change{
		{Machine: order, Key: "a", Event: "delivered", Set: versioning.Columns{"note": nil}},
	}}
	s.apply([]*versioning.Record{r})
	row, _ := s.Row(entity("order/a"))
	if row.Columns["note"] != nil || row.Columns["place"] != "here" {
		t.Errorf("after note was set to NULL: %v", row.Columns)
	}
}

// checkSplit checks that entities tied together by parked records are in one list, also
// through several such records: Fold judges these records when one of the entities
// moves.
func checkSplit(t *testing.T, open Open) {
	s := runBatch(t, open,
		"order/a captured + order/b captured + account/x debited",
		"order/c captured + account/x debited",
	)
	for range 30 { // each Split uses a new hash seed
		records := make([]*versioning.Record, 3)
		for i, say := range []string{"order/b placed", "order/c placed", "account/x opened"} {
			records[i] = s.parse(10+i, say)
			s.Prepare(records[i])
		}
		lists, index, err := s.Split(t.Context(), records, 4)
		if err != nil {
			t.Fatal(err)
		}
		for i, list := range lists {
			if len(list) > 0 && (len(list) != 3 || !slices.Equal(index[i], []int{0, 1, 2})) {
				t.Fatalf("list %d has %d of 3 records that parked records tie together, index %v", i, len(list), index[i])
			}
		}
	}
}

// checkDeadLetters checks that a dead letter is the complete record, and that nil stays
// nil.
func checkDeadLetters(t *testing.T, open Open) {
	s := newScript(t, open, suiteCase{})
	at := time.UnixMilli(1_700_000_000_123).UTC()
	records := []*versioning.Record{
		{Origin: originOf(0), Timestamp: at},
		{Origin: originOf(1), Timestamp: at, Key: []byte{}, Value: []byte{}},
		{Origin: originOf(2), Timestamp: at, Key: []byte{0, 255}, Value: []byte("{\x00"), Headers: []versioning.Header{
			{Key: "k", Value: []byte{0xff}},
			{Key: "k", Value: nil},
			{Key: "", Value: []byte{}},
			{Key: "bad\xff\x00key", Value: []byte("v")},
		}},
		{Origin: versioning.Origin{Topic: "other", TopicID: [16]byte{15: 7}, Partition: 2, Offset: 0}, Timestamp: at},
	}
	records[3].Origin.TopicID[0] = 1 // the same partition and offset in another topic
	var want []DeadLetter
	for _, r := range records {
		r.Err = &versioning.Refusal{Reason: versioning.ReasonUndecodable, Err: errRefused}
		want = append(want, DeadLetter{
			Origin: r.Origin, Key: r.Key, Value: r.Value, Headers: r.Headers, Timestamp: at.UnixMilli(),
			Outcome: versioning.Outcome{
				Verdict: versioning.Rejected, Reason: versioning.ReasonUndecodable, Detail: "undecodable: not enough money",
			},
		})
	}
	for range 2 {
		s.apply(records)
		if diff := cmp.Diff(want, s.DeadLetters()); diff != "" {
			t.Errorf("dead letters (-want, +got):\n%s", diff)
		}
	}
}

// checkDecodedLater checks that a record has one fate when it could not be decoded at
// first and can be when it is redelivered: its dead letter is removed, or gets the new
// reason.
func checkDecodedLater(t *testing.T, open Open) {
	s := newScript(t, open, suiteCase{})
	says := []string{
		"order/a placed", "order/a captured", "order/b captured", "nothing", "order/a placed", "order/a nosuch",
		"order/b placed at=3", "order/c placed",
	}
	garbled := func(i int, say string) *versioning.Record { return s.parse(i, say+" | err=garbage") }
	decoded := func(i int, say string) *versioning.Record { return s.parse(i, say) }
	deliver := func(as func(int, string) *versioning.Record) (verdicts []string) {
		var records []*versioning.Record
		for i, say := range says {
			records = append(records, as(i, say))
		}
		records = append(records, as(0, says[0])) // delivered twice
		for _, o := range s.apply(records).Outcomes {
			verdicts = append(verdicts, verdict(o))
		}
		return verdicts
	}
	deadLetters := func() (all []string) {
		for _, d := range s.DeadLetters() {
			all = append(all, fmt.Sprint(d.Origin.Offset, " ", d.Outcome.Reason))
		}
		return sorted(all)
	}
	for range 2 {
		s.same("undecodable", slices.Repeat([]string{"rejected undecodable"}, len(says)+1), deliver(garbled))
	}
	if n := len(deadLetters()); n != len(says) {
		t.Errorf("%d dead letters, want %d", n, len(says))
	}
	want := []string{
		"applied", "applied", "early no_entity", "ignored", "rejected illegal", "rejected unknown_event",
		"early version_ahead", "applied", "duplicate",
	}
	s.same("decoded", want, deliver(decoded))
	dead := []string{"4 illegal", "5 unknown_event"}
	s.same("dead letters", dead, deadLetters())
	want[0], want[1], want[7] = "duplicate", "duplicate", "duplicate"
	s.same("again", want, deliver(decoded))
	s.same("dead letters", dead, deadLetters())
	if n := len(s.Parked()); n != 2 {
		t.Errorf("%d records are parked, want 2", n)
	}
}

func checkParked(t *testing.T, open Open) {
	s := runBatch(t, open, "order/a captured", "order/b placed", "order/b delivered at=3")
	want := []Parked{
		{Origin: originOf(0), Entity: entity("order/a"), Reason: versioning.ReasonNoEntity, Definition: 3},
		{Origin: originOf(2), Entity: entity("order/b"), Reason: versioning.ReasonVersionAhead, Seen: 1, Definition: 3},
	}
	if diff := cmp.Diff(want, s.Parked()); diff != "" {
		t.Errorf("parked (-want, +got):\n%s", diff)
	}
}

// checkReleased checks that Apply returns records parked by an earlier batch, complete,
// when they are settled.
func checkReleased(t *testing.T, open Open) {
	s := newScript(t, open, suiteCase{steps: []step{
		{say: "order/a captured note=n | value=v1"},
		{say: "order/a delivered | value=v2"},
		{say: "order/a captured | value=v3"},
		{say: "order/a placed"},
	}})
	records := s.records()
	for _, r := range records {
		r.Key = []byte("k")
		r.Headers = []versioning.Header{{Key: "h", Value: []byte("v")}}
	}
	s.apply(records[:3])
	result := s.apply(records[3:])
	var got []string
	for _, released := range result.Released {
		r := released.Record
		got = append(got, string(r.Value)+" "+verdict(released.Outcome))
		if string(r.Key) != "k" || len(r.Headers) != 1 || r.Headers[0].Key != "h" || r.Origin.Topic != "events" {
			t.Errorf("released record is incomplete: %+v", r)
		}
	}
	if diff := cmp.Diff([]string{"v1 applied", "v3 rejected illegal"}, got); diff != "" {
		t.Errorf("released (-want, +got):\n%s", diff)
	}
	if row, _ := s.Row(entity("order/a")); row.Columns["note"] != "n" {
		t.Errorf("the columns set by a parked record are lost: %v", row)
	}
}

// checkDetails checks that outcomes name the change that decided them, and why.
func checkDetails(t *testing.T, open Open) {
	s := runBatch(t, open, "order/a placed", "order/a captured", "order/z placed + order/a cancelled at=1",
		"account/x opened", "account/x debited | value=panic")
	dead := s.DeadLetters()
	slices.SortFunc(dead, func(a, b DeadLetter) int { return int(a.Origin.Offset - b.Origin.Offset) })
	if len(dead) != 2 {
		t.Fatalf("%d dead letters, want 2", len(dead))
	}
	for i, parts := range [][]string{{"version 2", `"captured"`, `"cancelled"`}, {`"debited"`, `"active"`, "the action has a bug"}} {
		for _, part := range parts {
			if !strings.Contains(dead[i].Outcome.Detail, part) {
				t.Errorf("detail %q does not say %s", dead[i].Outcome.Detail, part)
			}
		}
	}
	if o := dead[0].Outcome; o.Entity != entity("order/a") || o.Event != "cancelled" {
		t.Errorf("decided by %s %s, want order/a cancelled", o.Entity, o.Event)
	}
}
