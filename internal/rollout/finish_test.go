package rollout

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
)

// finish closes all pairs, waits until everything is settled, and checks the result against the
// ledger.
func (g *group) finish(version int) {
	g.t.Helper()
	g.ledger.close()
	stop := g.migrate(version)
	testenv.Eventually(g.t, soon, func() error {
		if now, want := g.committed.Load(), int64(g.ledger.sent()); now < want || !g.ledger.isClosed() {
			return fmt.Errorf("%d records are committed; want %d", now, want)
		}
		return nil
	})
	testenv.Eventually(g.t, soon, func() error { return g.isSettled() })
	stop()
	got := g.history()
	g.wantMessages(got)
	g.stop()
	g.wantRows(got)
	for key, a := range g.ledger.crates {
		if err := a.check(got[key]); err != nil {
			g.t.Errorf("crate %s: %v\n%s", key, err, got[key])
		}
	}
	g.wantNone(`SELECT format('dead letter %s: %s, judged by version %s: %s: %s', entity, encode(value, 'escape'), definition, reason, detail) FROM pawl.dead_letters ORDER BY id`)
	g.wantNone(`SELECT 'there was a dead letter' FROM pg_sequence_last_value(pg_get_serial_sequence('pawl.dead_letters', 'id')) AS v WHERE v IS NOT NULL`)
	g.wantNone(`SELECT format('parked: %s %s', entity, reason) FROM pawl.parked`)
	g.t.Logf("%d records, %d crates, %d kills, %d migrated; the longest stop of a partition took %v",
		g.ledger.messages, len(g.ledger.crates), g.kills.Load(), g.moved.Load(), g.longest)
}

func (l *ledger) sent() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.messages
}

func (l *ledger) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pairs) == 0
}

// isSettled checks that all crates are closed, and that no record waits.
func (g *group) isSettled() error {
	var left, parked int
	var example, waits string
	err := g.pool.QueryRow(g.t.Context(), `
SELECT (SELECT count(*) FROM crates WHERE state <> 'closed'), (SELECT count(*) FROM pawl.parked),
       coalesce((SELECT id || ' is ' || state || ' at version ' || version FROM crates WHERE state <> 'closed' ORDER BY id LIMIT 1), ''),
       coalesce((SELECT string_agg(concat_ws(' ', entity, reason, seen_version, definition, changes), chr(10))
                 FROM (SELECT * FROM pawl.parked ORDER BY entity, seq LIMIT 10) AS p), '')`).Scan(&left, &parked, &example, &waits)
	if err == nil && left+parked > 0 {
		err = fmt.Errorf("%d crates are not closed (%s), %d records wait:\n%s", left, example, parked, waits)
	}
	return err
}

// wantNone reports each row of a query as an error.
func (g *group) wantNone(sql string) {
	g.t.Helper()
	rows, err := g.pool.Query(g.t.Context(), sql)
	if err != nil {
		g.t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		g.t.Fatal(err)
	}
	if len(found) > 0 {
		g.t.Errorf("%d rows:\n%s", len(found), strings.Join(found[:min(len(found), 10)], "\n"))
	}
}

// A step is a row of the history.
type step struct {
	Version    int64
	Event      statemachine.Event
	From, To   statemachine.State
	Message    string
	Definition int
}

type steps []step

func (s steps) String() string {
	var b strings.Builder
	for _, one := range s {
		fmt.Fprintf(&b, "  %d: %s from %q to %q by version %d, message %s\n", one.Version, one.Event, one.From, one.To, one.Definition, one.Message)
	}
	return b.String()
}

func (g *group) history() map[string]steps {
	g.t.Helper()
	all := make(map[string]steps)
	rows, err := g.pool.Query(g.t.Context(), `
SELECT entity, version, event, from_state, to_state, message_id, definition_version FROM pawl.transitions ORDER BY entity, version`)
	if err == nil {
		var key string
		var s step
		_, err = pgx.ForEachRow(rows, []any{&key, &s.Version, &s.Event, &s.From, &s.To, &s.Message, &s.Definition}, func() error {
			all[key] = append(all[key], s)
			return nil
		})
	}
	if err != nil {
		g.t.Fatal(err)
	}
	return all
}

// wantRows checks the rows against the ledger and the history.
func (g *group) wantRows(all map[string]steps) {
	g.t.Helper()
	rows, err := g.pool.Query(g.t.Context(), `SELECT id, state, version, weight FROM crates`)
	seen := 0
	if err == nil {
		var key, state string
		var version, weight int64
		_, err = pgx.ForEachRow(rows, []any{&key, &state, &version, &weight}, func() error {
			seen++
			a := g.ledger.crates[key]
			if a == nil || state != "closed" || version != int64(len(all[key])) || weight != a.weight {
				g.t.Errorf("crate %s is %s at version %d with weight %d; the ledger has %+v", key, state, version, weight, a)
			}
			return nil
		})
	}
	if err != nil {
		g.t.Fatal(err)
	}
	if seen != len(g.ledger.crates) || len(all) != seen {
		g.t.Errorf("%d crates, and history of %d; want %d", seen, len(all), len(g.ledger.crates))
	}
}

// check checks the history of a crate: it is a path of the machines, each message is there once,
// and those that are only about this crate are in their order.
func (a *account) check(all steps) error {
	want := make(map[string]message, len(a.messages))
	var alone []string
	for _, m := range a.messages {
		want[m.id] = m
		if !m.shared {
			alone = append(alone, m.id)
		}
	}
	at := statemachine.None
	var order []string
	for i, s := range all {
		if to, ok := versions[s.Definition]("out").Fire(at, s.Event); !ok || s.From != at || s.To != to || s.Version != int64(i)+1 {
			return fmt.Errorf("step %d is not legal", s.Version)
		}
		at = s.To
		if isOwn(s.Event) {
			continue
		}
		m, ok := want[s.Message]
		if !ok || m.event != s.Event {
			return fmt.Errorf("step %d is by a message that was not sent, or is there twice", s.Version)
		}
		delete(want, s.Message)
		if !m.shared {
			order = append(order, m.id)
		}
	}
	if len(want) > 0 {
		return fmt.Errorf("messages are missing: %v", want)
	}
	if !slices.Equal(order, alone) {
		return fmt.Errorf("the order of the messages is %v; want %v", order, alone)
	}
	return nil
}

// wantMessages checks that the steps have sent their messages, for each crate in the order of
// its steps.
func (g *group) wantMessages(all map[string]steps) {
	g.t.Helper()
	want := make(map[string][]int64)
	count := 0
	for key, some := range all {
		weights := make(map[string]int64)
		for _, m := range g.ledger.crates[key].messages {
			weights[m.id] = m.weight
		}
		for _, s := range some {
			if weight := weights[s.Message]; weight > 0 {
				want[key] = append(want[key], weight)
				count++
			}
		}
	}
	got := g.received(count)
	for key := range want {
		if !slices.Equal(got[key], want[key]) {
			g.t.Errorf("the messages of crate %s have weights %v; want %v", key, got[key], want[key])
		}
	}
}

// received consumes that many different messages that transitions have sent. Those that were
// sent again count once.
func (g *group) received(count int) map[string][]int64 {
	g.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(g.job.Brokers...), kgo.ConsumeTopics(g.job.Out))
	if err != nil {
		g.t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(g.t.Context(), soon)
	defer cancel()
	seen := make(map[string]bool)
	got := make(map[string][]int64)
	for len(seen) < count {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			g.t.Fatalf("%d messages of %d have arrived: %v", len(seen), count, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			i := slices.IndexFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == "ce_id" })
			if id := string(r.Headers[i].Value); !seen[id] {
				seen[id] = true
				var c cargo
				if err := json.Unmarshal(r.Value, &c); err != nil {
					g.t.Error(err)
				}
				key := cmp.Or(string(r.Key), "?")
				got[key] = append(got[key], c.Weight)
			}
		})
	}
	return got
}
