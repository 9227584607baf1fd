package uuid8_test

import (
	"bytes"
	"testing"

	"github.com/pawl-go/pawl/internal/uuid8"
)

func TestOf(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		fill byte
		want string
	}{
		{0, "00000000-0000-8000-8000-000000000000"},
		{0xff, "ffffffff-ffff-8fff-bfff-ffffffffffff"},
		{0x12, "12121212-1212-8212-9212-121212121212"},
	} {
		if got := uuid8.Of([32]byte(bytes.Repeat([]byte{tt.fill}, 32))).String(); got != tt.want {
			t.Errorf("%x: %s, want %s", tt.fill, got, tt.want)
		}
	}
}
