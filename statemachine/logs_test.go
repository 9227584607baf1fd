package statemachine_test

import (
	"compress/gzip"
	"encoding/csv"
	"os"
	"path/filepath"
	"testing"

	"github.com/pawl-go/pawl/statemachine"
)

// finished is the event that closes a case of a log, and also its terminal
// state.
const finished = "END"

// readCases reads an event log and returns the sequence of events of each case.
func readCases(t *testing.T, name string) [][]statemachine.Event {
	t.Helper()
	file := filepath.Join("..", "..", "shared", "data", name)
	if _, err := os.Stat(file); err != nil {
		t.Skipf("no event logs next to this checkout: %v", err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(unzipped).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return groupCases(rows[1:])
}

// groupCases expects rows of case, activity, lifecycle, timestamp.
func groupCases(rows [][]string) [][]statemachine.Event {
	position := make(map[string]int)
	var cases [][]statemachine.Event
	for _, row := range rows {
		i, known := position[row[0]]
		if !known {
			i = len(cases)
			position[row[0]] = i
			cases = append(cases, nil)
		}
		event := statemachine.Event(row[1])
		if row[2] != "" {
			event += "+" + statemachine.Event(row[2])
		}
		cases[i] = append(cases[i], event)
	}
	for i := range cases {
		cases[i] = append(cases[i], finished)
	}
	return cases
}

// definitionOf derives a machine from a log: the state is the last event, and
// an event's sources are all states it follows somewhere in the log.
func definitionOf(name string, cases [][]statemachine.Event) statemachine.Definition {
	a := make(arrows)
	d := statemachine.Definition{Name: name, Version: 1, Terminal: statemachine.In(finished)}
	for _, events := range cases {
		from := statemachine.None
		for _, e := range events {
			to := statemachine.State(e)
			if a.add(from, e, to) {
				t := statemachine.Transition{Event: e, To: to}
				if from != statemachine.None {
					t.From = statemachine.In(from)
				}
				d.Transitions = append(d.Transitions, t)
			}
			from = to
		}
	}
	return d
}

// TestRealLogs replays the logs of two real processes: every case must be a
// path from None to the terminal state, and Classify must agree with each event
// on it.
func TestRealLogs(t *testing.T) {
	t.Parallel()
	tests := []struct {
		file          string
		cases, states int
	}{
		{"road-traffic-fines-variants.csv.gz", 231, 12},
		{"bpic2012.csv.gz", 13087, 37},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			t.Parallel()
			cases := readCases(t, tt.file)
			m := compile(t, definitionOf(tt.file, cases))
			if len(cases) != tt.cases || len(m.States()) != tt.states {
				t.Errorf("%d cases and %d states; want %d and %d", len(cases), len(m.States()), tt.cases, tt.states)
			}
			for i, events := range cases {
				walk(t, m, i, events)
			}
			if len(identityErrors(m.ProveStateIdentity())) == 0 {
				t.Error("ProveStateIdentity returned nil for a process with cycles")
			}
		})
	}
}

func walk(t *testing.T, m *statemachine.Machine, i int, events []statemachine.Event) {
	t.Helper()
	at := statemachine.None
	for n, e := range events {
		to, ok := m.Fire(at, e)
		if !ok || m.Classify(at, e) != statemachine.Now {
			t.Fatalf("case %d: event %d (%s) is illegal in %q", i, n, e, at)
		}
		at = to
	}
	if !m.IsTerminal(at) {
		t.Fatalf("case %d ends in %q", i, at)
	}
}
