package kgorecord_test

import (
	"testing"

	"github.com/pawl-go/pawl/internal/kgorecord"
)

func TestTopicID(t *testing.T) {
	t.Parallel()
	given := [16]byte{1}
	if got := kgorecord.TopicID("a", given); got != given {
		t.Errorf("TopicID = %x, want the broker's", got)
	}
	a, b := kgorecord.TopicID("a", [16]byte{}), kgorecord.TopicID("b", [16]byte{})
	if a == b || a != kgorecord.TopicID("a", [16]byte{}) {
		t.Errorf("derived IDs %x and %x", a, b)
	}
	if a[6]>>4 != 8 || a[8]>>6 != 2 {
		t.Errorf("%x is not a UUID of version 8", a)
	}
}
