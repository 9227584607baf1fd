package postgres

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// anyEmitted draws a message: nil and empty differ, and names repeat.
func anyEmitted(t *rapid.T) versioning.Emitted {
	name := rapid.OneOf(rapid.SampledFrom([]string{"", "order", "orders", "a/b"}), rapid.String())
	data := rapid.OneOf(rapid.Just[[]byte](nil), rapid.SliceOf(rapid.Byte()))
	m := versioning.Emitted{
		OutMessage: versioning.OutMessage{
			Topic: name.Draw(t, "topic"), Key: data.Draw(t, "key"), Value: data.Draw(t, "value"), ContentType: name.Draw(t, "type"),
		},
		Source: name.Draw(t, "source"), Event: statemachine.Event(name.Draw(t, "event")),
		Entity:  versioning.Entity{Machine: name.Draw(t, "machine"), Key: rapid.String().Draw(t, "entity")},
		Version: rapid.Int64Min(1).Draw(t, "version"), Index: rapid.IntRange(0, 1000).Draw(t, "index"),
		Time:     time.Unix(rapid.Int64Range(-62135596800, 253402300799).Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns")).UTC(),
		Attempts: rapid.IntRange(0, 1000).Draw(t, "attempts"),
	}
	if rapid.Bool().Draw(t, "keyed by its entity") {
		m.Key = []byte(m.Entity.Key)
	}
	for range rapid.IntRange(0, 3).Draw(t, "headers") {
		m.Headers = append(m.Headers, versioning.Header{Key: name.Draw(t, "header"), Value: data.Draw(t, "header value")})
	}
	return m
}

// TestPackRoundTrip checks that unpack returns what was packed, and that a pack that is cut
// off is an error or a part of it, and never a panic.
func TestPackRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var want []versioning.Emitted
		var p packer
		for range rapid.IntRange(0, 5).Draw(t, "messages") {
			m := anyEmitted(t)
			want = append(want, m)
			p.add(&m)
		}
		data, n := p.pack()
		if n != len(want) {
			t.Fatalf("pack has %d messages, not %d", n, len(want))
		}
		got, err := unpack(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("unpack (-want, +got):\n%s", diff)
		}
		cut := rapid.IntRange(0, len(data)).Draw(t, "cut")
		some, err := unpack(data[:cut])
		if err == nil && cut > 0 && len(some) > len(want) {
			t.Fatalf("a part of the pack has %d messages", len(some))
		}
	})
}

// TestPackFormat pins the format: packs outlive the build that wrote them.
func TestPackFormat(t *testing.T) {
	t.Parallel()
	m := versioning.Emitted{
		OutMessage: versioning.OutMessage{Topic: "t", Key: []byte("k"), Value: []byte("v"), Headers: []versioning.Header{{Key: "h"}}},
		Source:     "/s", Entity: versioning.Entity{Machine: "m", Key: "e"}, Event: "did", Version: 300, Index: 1, Time: time.Unix(1, 2).UTC(), Attempts: 3,
	}
	var p packer
	p.add(&m)
	data, _ := p.pack()
	want := "\x01\x06\x02/s\x01m\x03did\x01t\x00\x01h" + "\x00\x01\x02\x03\x04" + "\x01e" + "\xac\x02\x01\x03" + "\x02\x02" + "\x00" + "\x01k\x01v" + "\x01\x05\x00"
	if string(data) != want {
		t.Errorf("pack is %q, not %q", data, want)
	}
	if _, err := unpack(append([]byte{2}, data[1:]...)); err == nil {
		t.Error("unpack accepts a version that it does not know")
	}
}

// FuzzUnpack checks that no bytes make unpack panic or take much memory, and that what it
// accepts can be packed again.
func FuzzUnpack(f *testing.F) {
	var p packer
	p.add(&versioning.Emitted{OutMessage: versioning.OutMessage{Topic: "t", Value: []byte("v")}, Entity: versioning.Entity{Machine: "m", Key: "k"}})
	seed, _ := p.pack()
	f.Add(seed)
	f.Add([]byte{packVersion, 0})
	f.Add([]byte{packVersion, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, data []byte) {
		messages, err := unpack(bytes.Clone(data))
		if err != nil {
			return
		}
		var p packer
		for i := range messages {
			p.add(&messages[i])
		}
		again, _ := p.pack()
		got, err := unpack(again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(messages, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("packed again (-want, +got):\n%s", diff)
		}
	})
}

// TestLaneWriter checks that packs are split at their limits, and that each lane keeps the
// order of its messages.
func TestLaneWriter(t *testing.T) {
	t.Parallel()
	var w laneWriter
	sent := make(map[int][]int64)
	for i := range 5000 {
		m := versioning.Emitted{
			OutMessage: versioning.OutMessage{Value: make([]byte, i%3000)},
			Entity:     versioning.Entity{Machine: "m", Key: string(rune('a' + i%3))}, Version: int64(i),
		}
		w.add(&m)
		lane := versioning.LaneOf(m.Entity)
		sent[lane] = append(sent[lane], m.Version)
	}
	got := make(map[int][]int64)
	for _, p := range w.finish() {
		if len(p.messages) > maxPackBytes+1<<14 || p.n > maxPackMessages {
			t.Errorf("a pack has %d messages, %d bytes", p.n, len(p.messages))
		}
		messages, err := unpack(p.messages)
		if err != nil || len(messages) != p.n {
			t.Fatalf("a pack has %d messages, not %d: %v", len(messages), p.n, err)
		}
		for _, m := range messages {
			got[p.Lane] = append(got[p.Lane], m.Version)
		}
	}
	if diff := cmp.Diff(sent, got); diff != "" {
		t.Errorf("messages by lane (-want, +got):\n%s", diff)
	}
}
