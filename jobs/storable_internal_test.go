package jobs

import (
	"encoding/json"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/riverqueue/river/rivertype"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/versioning"
)

// storableSeeds are texts on both sides of the limits.
var storableSeeds = []string{
	`{}`, `null`, `"a"`, `{"a":[1,-2.5e3,true,"x\"y\\",{"b":null}]}`, `"\\u0000"`, `"\\\u0041"`, `"😀"`, `"\ud83d\ude00"`, `"\uD83D\uDE00\n"`,
	`"\u0000"`, `"\\\u0000"`, `"\ud83d"`, `"\ud83d\ud83d"`, `"\ude00"`, `"\ud83dx"`, `"\ud83d\n\ude00"`, "\"\xff\"", `{"\u0000":1}`,
	`1e10000`, `-1e-10000`, `1e131073`, `1E+200000`, `1e99999999999999999999`, `0.1e5`, `"1e999999"`,
	strings.Repeat("9", 1000), strings.Repeat("9", 200000), "0." + strings.Repeat("1", 20000),
	strings.Repeat("[", 500) + strings.Repeat("]", 500), strings.Repeat("[", 20000) + strings.Repeat("]", 20000),
}

// FuzzStorable checks that PostgreSQL stores every JSON text that storable accepts.
func FuzzStorable(f *testing.F) {
	for _, s := range storableSeeds {
		f.Add([]byte(s))
	}
	url := testenv.Postgres(f)
	conn, err := pgx.Connect(f.Context(), url)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = conn.Close(f.Context()) })
	f.Fuzz(func(t *testing.T, text []byte) {
		if !json.Valid(text) || storable(text) != nil {
			return
		}
		if err := conn.QueryRow(t.Context(), `SELECT $1::text::jsonb IS NULL`, string(text)).Scan(nil); err != nil {
			t.Errorf("storable accepts %.300q, and PostgreSQL does not: %v", text, err)
		}
	})
}

// TestStorable checks that storable accepts what is harmless.
func TestStorable(t *testing.T) {
	t.Parallel()
	bad := map[string]bool{}
	for _, s := range storableSeeds {
		bad[s] = storable([]byte(s)) != nil
	}
	for i, s := range storableSeeds {
		want := i >= 9 && s != `1e10000` && s != `-1e-10000` && s != `0.1e5` && s != `"1e999999"` && len(s) != 1000
		if bad[s] != want {
			t.Errorf("storable(%.80q) refuses: %v, want %v", s, bad[s], want)
		}
	}
}

type label string

// TestResultIsKept checks that a result is the same after it was kept in metadata.
func TestResultIsKept(t *testing.T) {
	t.Parallel()
	c := &cause{Machine: "payment", Entity: "p1", Version: 3, Index: 1}
	at := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.FixedZone("", 3600))
	changes := []versioning.Change{
		{Event: "a"},
		{Event: "b", Data: map[string]any{"x": 1, "y": "<z>"}},
		{Machine: "account", Key: "k", Event: "c", MessageID: "m", FormerID: "f", Expected: versioning.At(0), Set: versioning.Columns{
			"nil": nil, "text": "t", "label": label("l"), "int": int32(-7), "uint": uint64(math.MaxUint64), "float": 0.1, "float32": float32(0.1),
			"bool": true, "time": at, "null": pgtype.Text{}, "valid": pgtype.Int8{Int64: 5, Valid: true}, "pointer": new(5),
			"nil pointer": (*int)(nil), "nil valuer": (*pgtype.Text)(nil), "big": big.NewInt(12),
		}},
	}
	r, err := newResult(changes)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	kept := &result{}
	if err := json.Unmarshal(text, kept); err != nil {
		t.Fatal(err)
	}
	got := kept.changes(c)
	id := "pawl.job/" + KeyOf("payment", "p1", 3, 1)
	for i, want := range []versioning.Change{
		{Machine: "payment", Key: "p1", Event: "a", MessageID: id},
		{Machine: "payment", Key: "p1", Event: "b", MessageID: id},
		{Machine: "account", Key: "k", Event: "c", MessageID: "m", FormerID: "f", Expected: versioning.At(0)},
	} {
		g := got[i]
		g.Set, g.Data = nil, nil
		if g.Machine != want.Machine || g.Key != want.Key || g.Event != want.Event || g.MessageID != want.MessageID || g.FormerID != want.FormerID || g.Expected != want.Expected {
			t.Errorf("change %d is %+v, want %+v", i, g, want)
		}
	}
	if data := string(got[1].Data.(json.RawMessage)); data != `{"x":1,"y":"\u003cz\u003e"}` {
		t.Errorf("the data is %s", data)
	}
	for name, want := range map[string]any{
		"nil": nil, "text": "t", "label": "l", "int": "-7", "uint": "18446744073709551615", "float": "0.1", "float32": "0.1", "bool": "true",
		"time": "2026-01-02T03:04:05.678901+01:00", "null": nil, "valid": "5", "pointer": "5", "nil pointer": nil, "nil valuer": nil, "big": "12",
	} {
		if value, ok := got[2].Set[name]; !ok || value != want {
			t.Errorf("column %s is %v, want %v", name, value, want)
		}
	}
	for name, c := range map[string]versioning.Change{
		"func":   {Data: func() {}},
		"NUL":    {Data: "\x00"},
		"bytes":  {Set: versioning.Columns{"c": []byte("x")}},
		"map":    {Set: versioning.Columns{"c": map[string]int{}}},
		"struct": {Set: versioning.Columns{"c": struct{}{}}},
	} {
		if r, err := newResult([]versioning.Change{c}); err == nil {
			t.Errorf("%s is kept as %+v", name, r)
		}
	}
}

// TestCalled checks which attempts count as calls.
func TestCalled(t *testing.T) {
	t.Parallel()
	const cause = `"pawl":{"machine":"m","entity":"e","version":1,"index":0}`
	for metadata, want := range map[string]string{
		`{` + cause + `}`: "",
		`{` + cause + `,"output":{"calling_since_attempt":"5","calling_since":"2026-01-02T03:04:05Z"}}`:                                         "5",
		`{` + cause + `,"output":{"calling_since_attempt":"5","calling_since":"2026-01-02T03:04:05Z"},"pawl_called":"5","pawl_not_called":"5"}`: "",
		`{` + cause + `,"output":{"calling_since_attempt":"6","calling_since":"2026-01-02T03:04:05Z"},"pawl_called":"5","pawl_not_called":"5"}`: "6",
		`{` + cause + `,"output":["other"],"pawl_called":"5"}`:                                                                                  "5",
		`{` + cause + `,"output":"other","pawl_called":"5","pawl_not_called":"5"}`:                                                              "",
		`{` + cause + `,"output":{"other":1},"pawl_called":"5","pawl_not_called":"4"}`:                                                          "5",
		`{` + cause + `,"output":{"calling_since_attempt":7}}`:                                                                                  "",
	} {
		p, err := progressOf(rowWith(metadata))
		if err != nil {
			t.Errorf("%s: %v", metadata, err)
			continue
		}
		if got, since := p.called(); got != want || (got != "") != !since.IsZero() {
			t.Errorf("%s: called is %q since %v, want %q", metadata, got, since, want)
		}
	}
	for _, metadata := range []string{`{}`, `[]`, `{"pawl":{}}`, `{"pawl":5}`, ``} {
		if p, err := progressOf(rowWith(metadata)); err == nil {
			t.Errorf("%s: %+v, want an error", metadata, p)
		}
	}
}

func rowWith(metadata string) *rivertype.JobRow { return &rivertype.JobRow{Metadata: []byte(metadata)} }

// TestKeyOf checks that keys never change, and that no two jobs share one.
func TestKeyOf(t *testing.T) {
	t.Parallel()
	if got, want := KeyOf("payment", "p1", 3, 0), "b0c9a1f3-20fa-8ad5-9425-2473447f4a6a"; got != want {
		t.Errorf("the key is %s, want %s: providers know it already", got, want)
	}
	keys := make(map[string]bool)
	for _, machine := range []string{"a", "ab", "a2:bc"} {
		for _, entity := range []string{"bc", "c", "1:c", ""} {
			for version := range int64(30) {
				for index := range 30 {
					keys[KeyOf(machine, entity, version, index)] = true
				}
			}
		}
	}
	if len(keys) != 3*4*30*30 {
		t.Errorf("%d keys, want %d", len(keys), 3*4*30*30)
	}
}
