package postgres

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
)

// Statements arrive as they are, whatever the sizes of those before them: smaller and larger than
// the buffers, and larger than any buffer that is kept.
func TestRoomKeepsStatementsApart(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	r := rand.New(rand.NewPCG(1, 1))
	for round := range 60 {
		var keys []texts
		var numbers []bigints
		for range 1 + r.IntN(4) {
			n, longest := []int{0, 1, 10, 300, 5000}[r.IntN(5)], 60
			if round == 40 {
				n, longest = 100, maxRoom/40
			}
			key, number := make(texts, n), make(bigints, n)
			for i := range n {
				key[i], number[i] = strings.Repeat(string(rune('a'+r.IntN(26))), r.IntN(longest)), r.Int64()
			}
			keys, numbers = append(keys, key), append(numbers, number)
		}
		batch := &pgx.Batch{}
		for i := range keys {
			batch.Queue("SELECT $1::text[], $2::bigint[], $1::text[]", keys[i], numbers[i]).QueryRow(func(row pgx.Row) error {
				var text, again []string
				var number []int64
				err := row.Scan(&text, &number, &again)
				if err == nil && (!slices.Equal(text, keys[i]) || !slices.Equal(number, numbers[i])) {
					t.Errorf("round %d: statement %d of %d has not arrived as it was", round, i, len(keys))
				}
				return err
			})
		}
		sendWithRoom(t, pool, batch)
	}
}

func sendWithRoom(t *testing.T, pool *pgxpool.Pool, batch *pgx.Batch) {
	t.Helper()
	err := connected(t.Context(), pool, func(conn *pgxpool.Conn) error {
		return (&transaction{conn: conn, begun: true}).SendBatch(t.Context(), batch).Close()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A connection needs no more room for a batch as large as one before.
func TestRoomStays(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	column := slices.Repeat(texts{"0123456789abcdef"}, 2000)
	buffers := func() (params, message *byte) {
		batch := &pgx.Batch{}
		for range 3 {
			batch.Queue("SELECT cardinality($1::text[]), cardinality($2::text[])", column, column)
		}
		sendWithRoom(t, pool, batch)
		var found *room
		if err := connected(context.Background(), pool, func(conn *pgxpool.Conn) error {
			found = roomOf(conn.Conn())
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if cap(found.params) == 0 || cap(found.message) == 0 {
			t.Fatal("the connection has kept no buffers")
		}
		return &found.params[:1][0], &found.message[:1][0]
	}
	buffers()
	params, message := buffers()
	if p, m := buffers(); p != params || m != message {
		t.Error("the buffers of a batch were made anew for the next one")
	}
}

// grow keeps what a buffer has, whichever buffer that comes into.
func TestGrow(t *testing.T) {
	t.Parallel()
	for _, kept := range []int{0, 8, 100, maxRoom} {
		for _, n := range []int{0, 1, 5, 90, 1000, maxRoom, 2 * maxRoom} {
			into := make([]byte, 0, kept)
			for _, buf := range [][]byte{nil, []byte("before"), append(into, "inside"...)[:min(6, kept)]} {
				want := string(buf)
				got := grow(&into, buf, n)
				if string(got) != want || cap(got) < len(want)+n {
					t.Errorf("%d more bytes after %q, with %d kept: %q, and a capacity of %d", n, want, kept, got, cap(got))
				}
				if cap(into) < kept || cap(into) > maxRoom {
					t.Errorf("%d more bytes after %q, with %d kept: now %d are kept", n, want, kept, cap(into))
				}
			}
		}
	}
}
