package postgres_test

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/embedded"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// routerReads are the columns that Debezium's outbox event router reads by default, and the
// types that it takes: it reads the topic and the key as strings, the ID and the payload as
// they are, and the time as a number with the schema of a timestamp, as Debezium gives it for
// a timestamp without time zone. (EventRouterConfigDefinition and EventRouterDelegate of
// Debezium 3.)
var routerReads = map[string]string{
	"id": "uuid", "aggregatetype": "text", "aggregateid": "text", "type": "text", "payload": "bytea", "timestamp": "timestamp without time zone",
}

// changed matches a column of a row in the output of test_decoding.
var changed = regexp.MustCompile(`"?(\w+)"?\[([^\]]+)\]:(null|'(?:[^']|'')*')`)

// TestDebezium reads through logical decoding what Debezium's outbox event router would read.
func TestDebezium(t *testing.T) {
	t.Parallel()
	server, err := embedded.StartPostgres(t.Context(), embedded.PostgresConfig{Settings: map[string]string{"wal_level": "logical"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := createThings(t.Context(), server.URL()); err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.New(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	machine := machineOf(func(f *statemachine.Firing, row *note, n int64) error {
		row.N = n
		f.EmitMessage(statemachine.Message{Topic: "notes", Value: n, Headers: []statemachine.Header{{Key: "mine", Value: []byte("it's")}}})
		f.EmitMessage(statemachine.Message{Topic: "gone", Key: []byte("other")})
		if n == 13 {
			f.EmitMessage(statemachine.Message{Topic: "notes", Key: []byte{0xff}})
		}
		return nil
	})
	store := open(t, pool, postgres.Table{Machine: machine, Name: "thing", Outbox: postgres.Debezium, Source: "/test"})
	if store.Emits() {
		t.Error("there are messages for a relay")
	}
	if _, err := pool.Exec(t.Context(), `SELECT pg_create_logical_replication_slot('debezium', 'test_decoding')`); err != nil {
		t.Skipf("the server has no logical decoding with test_decoding: %v", err)
	}
	var l log
	wantVerdicts(t, apply(t, store, l.did("a", "made", 1), l.did("a", "did", 13), l.did("a", "did", 2)), "applied", "rejected invalid_output", "applied")
	wantRows(t, pool, `SELECT count(*)::text FROM pawl.outbox_events`, "0")
	wantRows(t, pool, `SELECT count(*)::text FROM pawl.outbox`, "0")

	var inserts []map[string]string
	deletes := 0
	for _, line := range query(t, pool, `SELECT data FROM pg_logical_slot_get_changes('debezium', NULL, NULL)`) {
		switch {
		case strings.HasPrefix(line, "table pawl.outbox_events: INSERT"):
			row := make(map[string]string)
			for _, c := range changed.FindAllStringSubmatch(line, -1) {
				row[c[1]] = c[3]
				if want, ok := routerReads[c[1]]; ok && c[2] != want {
					t.Errorf("column %s has type %s; the router needs %s", c[1], c[2], want)
				}
			}
			inserts = append(inserts, row)
		case strings.HasPrefix(line, "table pawl.outbox_events: DELETE"):
			deletes++
		}
	}
	if len(inserts) != 4 || deletes != 4 {
		t.Fatalf("%d rows were inserted and %d deleted, not 4", len(inserts), deletes)
	}
	for column := range routerReads {
		if _, ok := inserts[0][column]; !ok {
			t.Errorf("there is no column %s", column)
		}
	}
	var got []string
	ids := make(map[string]bool)
	for _, row := range inserts {
		got = append(got, fmt.Sprint(row["aggregatetype"], row["aggregateid"], row["type"], bytea(t, row["payload"]), row["ce_specversion"],
			row["ce_source"], row["ce_id"], row["content_type"], row["headers"]))
		ids[row["id"]] = true
	}
	want := []string{
		`'notes''a''made'1'1.0''/test''thing/a/1/0''application/json''{"mine": "it''s"}'`,
		`'gone''other''made'null'1.0''/test''thing/a/1/1'null'{}'`,
		`'notes''a''did'2'1.0''/test''thing/a/2/0''application/json''{"mine": "it''s"}'`,
		`'gone''other''did'null'1.0''/test''thing/a/2/1'null'{}'`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-want, +got):\n%s", diff)
	}
	if len(ids) != 4 {
		t.Errorf("%d different IDs, not 4", len(ids))
	}
	// The same message has the same ID in another database.
	if want := `'` + postgres.EventID(&versioning.Emitted{Source: "/test", Entity: versioning.Entity{Machine: "thing", Key: "a"}, Version: 1}) + `'`; inserts[0]["id"] != want {
		t.Errorf("ID is %s, not %s", inserts[0]["id"], want)
	}
}

// bytea returns a bytea of the output of test_decoding.
func bytea(t *testing.T, text string) string {
	t.Helper()
	if text == "null" {
		return text
	}
	b, err := hex.DecodeString(strings.TrimSuffix(strings.TrimPrefix(text, `'\x`), "'"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
