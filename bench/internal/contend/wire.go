package contend

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
)

// A PostgreSQL client sends a stream of messages: a type byte, four bytes of
// length (which include themselves) and a body. After a Sync or a Query the
// server sends its results and then a ReadyForQuery. Everything sent up to
// there is one round trip. A recording is a file of round trips, each prefixed
// with its length.
const (
	headerSize    = 5
	kindSync      = 'S'
	kindQuery     = 'Q'
	kindReady     = 'Z'
	kindError     = 'E'
	maxErrorBytes = 4096
)

// A tap records what a connection sends while it is on.
type tap struct {
	net.Conn
	on   *atomic.Bool
	file *bufio.Writer
	sent []byte // the current round trip so far
	at   int    // end of the part of sent that was already parsed
}

func (t *tap) Write(b []byte) (int, error) {
	if t.on.Load() {
		if err := t.note(b); err != nil {
			return 0, fmt.Errorf("record the sent bytes: %w", err)
		}
	}
	return t.Conn.Write(b)
}

func (t *tap) note(b []byte) error {
	t.sent = append(t.sent, b...)
	for len(t.sent) >= t.at+headerSize {
		kind := t.sent[t.at]
		end := t.at + 1 + int(binary.BigEndian.Uint32(t.sent[t.at+1:]))
		if len(t.sent) < end {
			return nil
		}
		t.at = end
		if kind != kindSync && kind != kindQuery {
			continue
		}
		invertGuards(t.sent[:end])
		if err := writeTrip(t.file, t.sent[:end]); err != nil {
			return err
		}
		t.sent = append(t.sent[:0], t.sent[end:]...)
		t.at = 0
	}
	return nil
}

// Guards that hold only where they were recorded, and what replaces them, which holds only
// in a replay: the tables are other ones there, and other transactions have written the
// rows whose columns are computed.
var guards = [][2][]byte{
	{[]byte("SELECT (same = true)"), []byte("SELECT (same <>true)")},
	{[]byte("t.xmin = u.writer::"), []byte("t.xmin <>u.writer::")},
}

// invertGuards inverts these guards where a statement is prepared, so that PostgreSQL does
// the same work in a replay.
func invertGuards(trip []byte) {
	for _, guard := range guards {
		for rest := trip; ; {
			at := bytes.Index(rest, guard[0])
			if at < 0 {
				break
			}
			rest = rest[at+copy(rest[at:], guard[1]):]
		}
	}
}

func writeTrip(w io.Writer, trip []byte) error {
	if err := binary.Write(w, binary.BigEndian, uint32(len(trip))); err != nil {
		return err
	}
	_, err := w.Write(trip)
	return err
}

// readTrips reads a recording.
func readTrips(path string) ([][]byte, error) {
	all, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the recorded statements: %w", err)
	}
	var trips [][]byte
	for len(all) > 0 {
		if len(all) < 4 || len(all) < 4+int(binary.BigEndian.Uint32(all)) {
			return nil, fmt.Errorf("the recording %s is truncated", path)
		}
		n := 4 + int(binary.BigEndian.Uint32(all))
		trips = append(trips, all[4:n])
		all = all[n:]
	}
	return trips, nil
}

// play sends round trips. It waits for each answer before it sends the next
// round trip, and looks only for errors.
func play(conn net.Conn, trips [][]byte) error {
	answers := bufio.NewReaderSize(conn, 64<<10)
	sent := make(chan error, 1)
	for _, trip := range trips {
		go func() { // write concurrently: a server that sends a long answer does not read meanwhile
			_, err := conn.Write(trip)
			sent <- err
		}()
		if err := errors.Join(answer(answers), <-sent); err != nil {
			return err
		}
	}
	return nil
}

// answer reads one answer up to ReadyForQuery.
func answer(r *bufio.Reader) error {
	var failed error
	for {
		head, err := r.Peek(headerSize)
		if err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		kind, size := head[0], int(binary.BigEndian.Uint32(head[1:]))-4
		if _, err := r.Discard(headerSize); err != nil {
			return err
		}
		if kind == kindError && size < maxErrorBytes {
			text, _ := r.Peek(size)
			failed = fmt.Errorf("PostgreSQL returned an error: %q", text)
		}
		if _, err := r.Discard(size); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		if kind == kindReady {
			return failed
		}
	}
}
