package contend

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
)

// What a client of PostgreSQL sends is a stream of messages: a byte that names
// its kind, four bytes of length (which count themselves), and its body. After a
// Sync or a Query the server answers with all that it has, and a ReadyForQuery
// in the end. What is sent up to there is one round trip: a recording is a file
// of these, each with its length in front.
const (
	headerSize    = 5
	kindSync      = 'S'
	kindQuery     = 'Q'
	kindReady     = 'Z'
	kindError     = 'E'
	maxErrorBytes = 4096
)

// A tap writes down what a connection sends, from when it is on.
type tap struct {
	net.Conn
	on   *atomic.Bool
	file *bufio.Writer
	sent []byte // the round trip so far
	at   int    // up to where sent was looked through
}

func (t *tap) Write(b []byte) (int, error) {
	if t.on.Load() {
		if err := t.note(b); err != nil {
			return 0, fmt.Errorf("record what is sent: %w", err)
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
		if err := writeTrip(t.file, t.sent[:end]); err != nil {
			return err
		}
		t.sent = append(t.sent[:0], t.sent[end:]...)
		t.at = 0
	}
	return nil
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
			return nil, fmt.Errorf("the recorded statements in %s break off", path)
		}
		n := 4 + int(binary.BigEndian.Uint32(all))
		trips = append(trips, all[4:n])
		all = all[n:]
	}
	return trips, nil
}

// play sends round trips, each when the answer to the one before has come, and
// looks at no answer but errors.
func play(conn net.Conn, trips [][]byte) error {
	answers := bufio.NewReaderSize(conn, 64<<10)
	sent := make(chan error, 1)
	for _, trip := range trips {
		go func() { // a server that has much to answer does not read meanwhile
			_, err := conn.Write(trip)
			sent <- err
		}()
		if err := errors.Join(answer(answers), <-sent); err != nil {
			return err
		}
	}
	return nil
}

// answer reads an answer to its end.
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
			failed = fmt.Errorf("PostgreSQL answers: %q", text)
		}
		if _, err := r.Discard(size); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		if kind == kindReady {
			return failed
		}
	}
}
