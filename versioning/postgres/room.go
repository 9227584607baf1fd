package postgres

import (
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
)

// A room has the buffers in which the statements of a connection are encoded. pgx itself drops
// each buffer above a kilobyte after it was used, and lets the next one grow by a quarter at a
// time. That was more than a third of all bytes that a worker allocated.
//
// The buffers stay with their connection: nobody else writes into them, whatever pgx keeps.
type room struct {
	params  []byte // of the statement that is being encoded; pgx copies them to the message
	message []byte // all statements that are sent together
}

// maxRoom is the size of the largest buffer that stays with a connection.
const maxRoom = 4 << 20

// roomKey is the key of the room in the connection's custom data.
const roomKey = "github.com/pawl-go/pawl/versioning/postgres"

// roomOf returns the room of a connection.
func roomOf(conn *pgx.Conn) *room {
	custom := conn.PgConn().CustomData()
	r, ok := custom[roomKey].(*room)
	if !ok {
		r = new(room)
		custom[roomKey] = r
	}
	return r
}

// grow returns buf with a capacity for n more bytes, in the given buffer of the room or, if it is
// too small for them, in the one that replaces it.
func grow(into *[]byte, buf []byte, n int) []byte {
	need := len(buf) + n
	if need <= cap(buf) {
		return buf
	}
	if need <= cap(*into) {
		return append((*into)[:0], buf...)
	}
	larger := append(make([]byte, 0, need+need/4), buf...)
	if cap(larger) <= maxRoom {
		*into = larger[:0]
	}
	return larger
}

// reserve makes the next message of the connection begin with room for all statements of a batch.
func (r *room) reserve(conn *pgx.Conn, b *pgx.Batch) {
	n := 0
	for _, q := range b.QueuedQueries {
		n += statementSize
		for _, arg := range q.Arguments {
			if a, ok := arg.(array); ok {
				n += a.size()
			}
		}
	}
	conn.PgConn().Frontend().Send(reservation{r, n})
}

// statementSize is the size of the messages of a statement without the elements of its columns,
// usually.
const statementSize = 512

// A reservation is a message without content. To encode it makes room for what follows.
type reservation struct {
	room *room
	n    int
}

// Frontend implements [pgproto3.FrontendMessage].
func (reservation) Frontend() {}

// Decode implements [pgproto3.FrontendMessage].
func (reservation) Decode([]byte) error { return nil }

// Encode implements [pgproto3.FrontendMessage].
func (m reservation) Encode(buf []byte) ([]byte, error) { return grow(&m.room.message, buf, m.n), nil }

var _ pgproto3.FrontendMessage = reservation{}
