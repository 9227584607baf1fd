package contend

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func wireMessage(kind byte, body string) string {
	head := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4))
	return string(head) + body
}

// discard is a connection that accepts all writes.
type discard struct{ net.Conn }

func (discard) Write(b []byte) (int, error) { return len(b), nil }

func TestTapSplitsRoundTrips(t *testing.T) {
	begin := wireMessage(kindQuery, "begin\x00")
	batch := wireMessage('P', "statement") + wireMessage('B', strings.Repeat("x", 300)) + wireMessage(kindSync, "")
	path := filepath.Join(t.TempDir(), "recording")
	for _, size := range []int{1, 2, 7, 1000} { // sizes of the pieces written
		var file bytes.Buffer
		var on atomic.Bool
		tap := &tap{Conn: discard{}, on: &on, file: bufio.NewWriter(&file)}
		if _, err := tap.Write([]byte("before")); err != nil {
			t.Fatal(err)
		}
		on.Store(true)
		for rest := []byte(begin + batch); len(rest) > 0; {
			n := min(size, len(rest))
			if _, err := tap.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := tap.file.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		trips, err := readTrips(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([][]byte{[]byte(begin), []byte(batch)}, trips); diff != "" {
			t.Errorf("written in pieces of %d (-want, +got):\n%s", size, diff)
		}
	}
}

func TestGuardsAreInverted(t *testing.T) {
	got := []byte("AND t.xmin = u.writer::xid OR t.xmin = u.writer::xid; SELECT (same = true)")
	invertGuards(got)
	if want := "AND t.xmin <>u.writer::xid OR t.xmin <>u.writer::xid; SELECT (same <>true)"; string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTruncatedRecording(t *testing.T) {
	path := filepath.Join(t.TempDir(), "recording")
	if err := os.WriteFile(path, []byte{0, 0, 0, 9, 1}, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readTrips(path); err == nil {
		t.Error("readTrips accepted a truncated recording")
	}
}

func TestPlayReportsErrors(t *testing.T) {
	client, server := net.Pipe()
	go func() {
		buffer := make([]byte, 100)
		_, _ = server.Read(buffer)
		_, _ = server.Write([]byte(wireMessage(kindError, "no such table") + wireMessage(kindReady, "I")))
	}()
	err := play(client, [][]byte{[]byte(wireMessage(kindQuery, "select\x00"))})
	if err == nil || !strings.Contains(err.Error(), "no such table") {
		t.Errorf("play returned %v", err)
	}
}
