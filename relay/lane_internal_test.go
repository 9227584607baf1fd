package relay

import (
	"testing"

	"github.com/pawl-go/pawl/versioning"
)

// TestIsOvertaken checks that a message that failed is overtaken only by later messages of its
// entity to the same topic that have arrived.
func TestIsOvertaken(t *testing.T) {
	t.Parallel()
	message := func(entity, topic string) versioning.Emitted {
		return versioning.Emitted{OutMessage: versioning.OutMessage{Topic: topic}, Entity: versioning.Entity{Machine: "m", Key: entity}}
	}
	first := newPack(versioning.Pack{Messages: []versioning.Emitted{message("a", "t"), message("b", "t"), message("a", "t")}})
	second := newPack(versioning.Pack{Messages: []versioning.Emitted{message("a", "u"), message("a", "t")}})
	l := &lane{packs: []*pack{first, second}}
	for _, c := range []struct {
		acked [2]int // pack and index
		want  [3]bool
	}{
		{[2]int{0, 0}, [3]bool{}},
		{[2]int{0, 1}, [3]bool{}},
		{[2]int{0, 2}, [3]bool{0: true}},
		{[2]int{1, 0}, [3]bool{}},
		{[2]int{1, 1}, [3]bool{0: true, 2: true}},
	} {
		l.packs[c.acked[0]].states[c.acked[1]].is = acked
		for i, want := range c.want {
			if got := l.isOvertaken(first, i); got != want {
				t.Errorf("with %v acknowledged, message %d is overtaken: %t", c.acked, i, got)
			}
		}
		l.packs[c.acked[0]].states[c.acked[1]].is = failed
	}
}

// TestPosition checks the text in which a position is kept.
func TestPosition(t *testing.T) {
	t.Parallel()
	var packs []*pack
	for i := range maxLanePacks {
		packs = append(packs, newPack(versioning.Pack{PackRef: versioning.PackRef{Token: int64(i) - 100}}))
	}
	text := encodeTokens(packs)
	if len(text) > 4096 { // Kafka's default for offset.metadata.max.bytes
		t.Errorf("the position of %d packs has %d bytes", len(packs), len(text))
	}
	tokens, err := decodeTokens(text)
	if err != nil || len(tokens) != len(packs) || tokens[0] != -100 || tokens[255] != 155 {
		t.Errorf("%d tokens, %v", len(tokens), err)
	}
	for _, bad := range []string{"", "pawl marked 7", text + "A", positionPrefix + "AAAA"} {
		if _, err := decodeTokens(bad); err == nil {
			t.Errorf("%.40q is a position", bad)
		}
	}
}
