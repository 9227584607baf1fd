package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations"
	"github.com/pawl-go/pawl/versioning/postgres"
)

func TestReader(t *testing.T) {
	t.Parallel()
	for _, schema := range []string{"", oddSchema} {
		t.Run(schema, func(t *testing.T) {
			t.Parallel()
			template, read := withOrders, `SELECT count(*)::text FROM pawl.machines`
			if schema != "" {
				template = inOddSchema
			}
			pool := testenv.Pool(t, template)
			if schema != "" {
				mustExec(t, pool, `CREATE TABLE orders (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL)`)
				read = in(schema, read)
			}
			store := openIn(t, pool, schema, postgres.Table{Machine: order, Name: "orders"})
			var l log
			for i := range 30 {
				key := fmt.Sprintf("%02d", i)
				apply(t, store, l.say(key, "placed"), l.say(key, "captured"))
			}
			apply(t, store, l.say("29", "shipped"))
			apply(t, store, l.say("07", "shipped"))

			reader, err := postgres.OpenReader(t.Context(), pool, schema, postgres.Table{Machine: newerOrder, Name: "orders"})
			if err != nil {
				t.Fatal(err)
			}
			all, err := reader.Definitions(t.Context(), "order")
			if err != nil || len(all) != 1 || all[0].Outline.Version != 1 {
				t.Errorf("Definitions = %+v, %v", all, err)
			}
			states, sampled, err := reader.CountStates(t.Context(), "order", "paid")
			if err != nil || sampled || len(states) != 1 || states[0].State != "shipped" || states[0].Rows != 2 || len(states[0].Keys) != 2 {
				t.Errorf("CountStates = %+v, %v, %v", states, sampled, err)
			}
			for entities, want := range map[int]string{0: "", 1: "07:3", 2: "07:3 29:3", 3: "07:3 28:2 29:3", 100: "00:2"} {
				steps := make(map[string]int)
				err := reader.History(t.Context(), "order", entities, func(s *postgres.HistoryStep) error {
					if steps[s.Key]++; s.Version != int64(steps[s.Key]) || s.Version == 2 && (s.Event != "captured" || s.From != "pending" || s.To != "paid") {
						t.Errorf("step %+v", s)
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for key, n := range steps {
					got = append(got, fmt.Sprintf("%s:%d", key, n))
				}
				slices.Sort(got)
				if text := strings.Join(got, " "); entities < 10 && text != want || entities >= 10 && (len(got) != 30 || got[0] != want) {
					t.Errorf("the last %d entities: %s, want %s", entities, text, want)
				}
			}
			errStop := errors.New("stop")
			if err := reader.History(t.Context(), "order", -1, func(*postgres.HistoryStep) error { return errStop }); !errors.Is(err, errStop) {
				t.Errorf("History: %v", err)
			}
			wantRows(t, pool, read, "1")
			if _, _, err := reader.CountStates(t.Context(), "nosuch"); err == nil || !strings.Contains(err.Error(), "nosuch") {
				t.Errorf("CountStates of an unknown machine: %v", err)
			}
		})
	}
}

// TestReaderReadsOnly checks that a reader needs no right but SELECT, and what it says without it.
func TestReaderReadsOnly(t *testing.T) {
	t.Parallel()
	pool, _ := openOrders(t)
	restricted, role := asRole(t, pool)
	table := postgres.Table{Machine: order, Name: "orders"}
	mustExec(t, pool, `GRANT USAGE ON SCHEMA pawl TO `+role+`; GRANT SELECT ON pawl.goose_db_version, pawl.machines, pawl.transitions TO `+role)
	if _, err := postgres.OpenReader(t.Context(), restricted, "", table); !errors.Is(err, postgres.ErrTable) || !strings.Contains(err.Error(), "lacks SELECT") {
		t.Errorf("without rights: %v", err)
	}
	mustExec(t, pool, `GRANT SELECT ON orders TO `+role)
	reader, err := postgres.OpenReader(t.Context(), restricted, "", table)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := reader.CountStates(t.Context(), "order"); err != nil {
		t.Error(err)
	}
	if err := reader.History(t.Context(), "order", 5, func(*postgres.HistoryStep) error { return nil }); err != nil {
		t.Error(err)
	}
	if _, err := postgres.OpenReader(t.Context(), testenv.Pool(t), "", table); !errors.Is(err, migrations.ErrSchema) {
		t.Errorf("without a schema: %v", err)
	}
	if _, err := postgres.OpenReader(t.Context(), nil, ""); err == nil {
		t.Error("without a pool, there is no error")
	}
}
