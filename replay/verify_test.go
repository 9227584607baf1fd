package replay_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/internal/banklog"
	"github.com/pawl-go/pawl/replay"
)

// A plant is a difference that a test makes.
type plant struct {
	kind replay.DifferenceKind // the first of those that must be reported
	sql  []string              // %[1]d is the case
}

// plants make a difference in a case that has at least four steps.
var plants = []plant{
	{replay.State, []string{`UPDATE cases SET state = 'opened or so' WHERE id = %[1]d`}},
	{replay.Version, []string{`UPDATE cases SET version = version + 1 WHERE id = %[1]d`}},
	{replay.Data, []string{`UPDATE cases SET note = 'changed' WHERE id = %[1]d`}},
	{replay.MissingRow, []string{`DELETE FROM cases WHERE id = %[1]d`}},
	{replay.MissingStep, []string{`DELETE FROM pawl.transitions WHERE entity = '%[1]d' AND version = 3`}},
	{replay.MissingStep, []string{
		`DELETE FROM pawl.transitions WHERE entity = '%[1]d' AND version = 2`,
		`UPDATE pawl.transitions SET version = -version + 1 WHERE entity = '%[1]d' AND version > 2`,
		`UPDATE pawl.transitions SET version = -version WHERE entity = '%[1]d' AND version < 0`,
	}},
	{replay.MissingStep, []string{`DELETE FROM pawl.transitions WHERE entity = '%[1]d' AND version = 1`}},
	{replay.ExtraStep, []string{
		`UPDATE pawl.transitions SET version = -version - 1 WHERE entity = '%[1]d' AND version > 1`,
		`UPDATE pawl.transitions SET version = -version WHERE entity = '%[1]d' AND version < 0`,
		`INSERT INTO pawl.transitions SELECT (t).* FROM (SELECT jsonb_populate_record(h, '{"version": 2, "message_id": "made up"}') AS t
			FROM pawl.transitions AS h WHERE entity = '%[1]d' AND version = 1) AS made`,
	}},
	{replay.ExtraStep, []string{
		`INSERT INTO pawl.transitions SELECT (t).* FROM (SELECT jsonb_populate_record(h, jsonb_build_object('version', version + 1, 'message_id', 'made up')) AS t
			FROM pawl.transitions AS h WHERE entity = '%[1]d' ORDER BY version DESC LIMIT 1) AS made`,
	}},
	{replay.Swapped, []string{
		`UPDATE pawl.transitions SET version = -(5 - version) WHERE entity = '%[1]d' AND version IN (2, 3)`,
		`UPDATE pawl.transitions SET version = -version WHERE entity = '%[1]d' AND version < 0`,
	}},
	{replay.OtherStep, []string{`UPDATE pawl.transitions SET event = 'made up' WHERE entity = '%[1]d' AND version = 2`}},
	{replay.OtherStep, []string{`UPDATE pawl.transitions SET to_state = 'made up' WHERE entity = '%[1]d' AND version = 2`}},
	{replay.OtherStep, []string{`UPDATE pawl.transitions SET message_id = 'made up' WHERE entity = '%[1]d' AND version = 2`}},
	{replay.ExtraRow, []string{
		`INSERT INTO cases SELECT -id, state, version, note, other FROM cases WHERE id = %[1]d`,
		`INSERT INTO pawl.transitions SELECT (t).* FROM (SELECT jsonb_populate_record(h, jsonb_build_object('entity', '-' || entity)) AS t
			FROM pawl.transitions AS h WHERE entity = '%[1]d') AS made`,
	}},
}

// plant makes n differences, one in a case, and returns the expected kind of each by the key of the entity.
func (w *world) plant(n int) map[string]replay.DifferenceKind {
	w.Helper()
	rows, err := w.pool.Query(w.Context(), `SELECT entity FROM pawl.transitions GROUP BY entity HAVING count(*) >= 4 ORDER BY md5(entity) LIMIT $1`, n)
	if err != nil {
		w.Fatal(err)
	}
	keys, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(keys) != n {
		w.Fatalf("%d of %d cases: %v", len(keys), n, err)
	}
	want := make(map[string]replay.DifferenceKind)
	for i, key := range keys {
		id, err := strconv.Atoi(key)
		if err != nil {
			w.Fatal(err)
		}
		p := plants[i%len(plants)]
		for _, sql := range p.sql {
			w.exec(fmt.Sprintf(sql, id))
		}
		if p.kind == replay.ExtraRow {
			key = "-" + key
		}
		want[key] = p.kind
	}
	return want
}

// TestVerifyFindsEachDifference plants differences, and wants each of them reported, and no other.
func TestVerifyFindsEachDifference(t *testing.T) {
	t.Parallel()
	w := newWorld(t, synthetic(300), banklog.Faults{Redelivered: 0.05})
	w.must(replay.Apply(t.Context(), w.cfg))
	w.checkPlanted()
}

// TestVerifyBank does the same with the cases of a real bank: 300 of them, or
// PAWL_BANKLOG_CASES of 13,087.
func TestVerifyBank(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "..", "shared", "data", "bpic2012.csv.gz")
	log, err := banklog.Read("cases", path)
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("this test needs the bank's event log, and there is none at %s", path)
	}
	if err != nil {
		t.Fatal(err)
	}
	n := 300
	if s := os.Getenv("PAWL_BANKLOG_CASES"); s != "" {
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatalf("PAWL_BANKLOG_CASES: %v", err)
		}
	}
	log = log.Head(n)
	w := newWorld(t, log, banklog.Faults{Redelivered: 0.05, Moved: 0.05, MovedBy: 20, Extra: 0.005, First: log.Cases[0].Events[0]})
	w.must(replay.Apply(t.Context(), w.cfg))
	w.checkPlanted()
}

func (w *world) checkPlanted() {
	w.Helper()
	want := w.plant(30)
	report := w.must(replay.Verify(w.Context(), w.cfg))
	w.Log(report)
	got := make(map[string]replay.DifferenceKind)
	for _, d := range report.Verified.Differences {
		got[d.Entity] = d.Kinds[0]
		if kind, ok := want[d.Entity]; ok && slices.Contains(d.Kinds, kind) {
			got[d.Entity] = kind
		}
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		w.Errorf("differences (-planted +found):\n%s", diff)
	}
	if report.Verified.Different != int64(len(want)) {
		w.Errorf("%d differences counted, and %d planted", report.Verified.Different, len(want))
	}
}

// TestRebuild replaces what differs: afterwards there is no difference, and everything else is as it was.
func TestRebuild(t *testing.T) {
	t.Parallel()
	w := newWorld(t, synthetic(300), someFaults)
	w.must(replay.Apply(t.Context(), w.cfg))
	w.exec(`UPDATE cases SET other = 'of another application'`)
	before := w.digest()
	w.plant(28)
	w.exec(`INSERT INTO cases SELECT id, state, version, note, 'of another application' FROM cases WHERE false`)
	cfg := w.cfg
	cfg.Keep = true
	if report := w.must(replay.Verify(t.Context(), cfg)); report.Clean() {
		t.Fatal("nothing was planted")
	}
	report := w.must(replay.Rebuild(t.Context(), w.cfg))
	t.Log(report)
	if !report.Clean() || report.Rebuilt.Entities != 28 {
		t.Errorf("%v", report)
	}
	if report := w.must(replay.Verify(t.Context(), w.cfg)); !report.Clean() {
		t.Errorf("after the rebuild: %v", report)
	}
	w.exec(`UPDATE cases SET other = 'of another application'`) // rows that were missing are without it
	if after := w.digest(); after != before {
		t.Errorf("the rebuild has changed more than what differed")
	}
	if got := w.text(`SELECT count(*)::text FROM pawl.replaced`); got != "28" {
		t.Errorf("%s entities are kept", got)
	}
}
