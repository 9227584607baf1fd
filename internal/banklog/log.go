package banklog

import (
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/pawl-go/pawl/statemachine"
)

// End is the event that closes a case, and the state it ends in.
const End = "END"

// A Log is an event log: cases in the order they begin.
type Log struct {
	Name  string
	Cases []Case
}

// A Case is one run of the process.
type Case struct {
	ID     string
	Events []statemachine.Event // without End
}

// Read reads a gzipped log with lines of case, activity, lifecycle and
// timestamp. The error wraps os.ErrNotExist if the log is not on this machine.
func Read(name, path string) (log *Log, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open event log: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		return nil, fmt.Errorf("decompress event log %s: %w", path, err)
	}
	lines := csv.NewReader(unzipped)
	lines.ReuseRecord = true
	if _, err := lines.Read(); err != nil {
		return nil, fmt.Errorf("read the header of event log %s: %w", path, err)
	}
	log = &Log{Name: name}
	cases := make(map[string]int)
	for {
		line, err := lines.Read()
		if errors.Is(err, io.EOF) {
			return log, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read event log %s: %w", path, err)
		}
		log.add(cases, line[0], line[1], line[2])
	}
}

func (l *Log) add(cases map[string]int, id, activity, lifecycle string) {
	event := statemachine.Event(activity)
	if lifecycle != "" {
		event += "/" + statemachine.Event(lifecycle)
	}
	i, ok := cases[id]
	if !ok {
		i = len(l.Cases)
		cases[id] = i
		l.Cases = append(l.Cases, Case{ID: id})
	}
	l.Cases[i].Events = append(l.Cases[i].Events, event)
}

// Head returns the first n cases of the log, or all of them if there are fewer.
func (l *Log) Head(n int) *Log {
	return &Log{Name: l.Name, Cases: l.Cases[:min(n, len(l.Cases))]}
}

// Machine derives a machine from the log: a state is the last event, and an
// event is legal in every state it follows somewhere in the log.
func (l *Log) Machine() (*statemachine.Machine, error) {
	type edge struct{ from, to string }
	seen := make(map[edge]bool)
	sources := make(map[statemachine.Event][]statemachine.State)
	var order []statemachine.Event
	note := func(from statemachine.State, event statemachine.Event) {
		if e := (edge{string(from), string(event)}); !seen[e] {
			seen[e] = true
			if !slices.Contains(order, event) {
				order = append(order, event)
			}
			sources[event] = append(sources[event], from)
		}
	}
	for _, c := range l.Cases {
		state := statemachine.None
		for _, event := range c.Events {
			note(state, event)
			state = statemachine.State(event)
		}
		note(state, End)
	}
	definition := statemachine.Definition{Name: l.Name, Version: 1, Terminal: statemachine.In(End)}
	for _, event := range order {
		definition.Transitions = append(definition.Transitions, transitions(event, sources[event])...)
	}
	return statemachine.Compile(definition)
}

// transitions declares one event: a transition for the entities it creates and
// one for the entities it moves.
func transitions(event statemachine.Event, from []statemachine.State) (all []statemachine.Transition) {
	to := statemachine.State(event)
	if i := slices.Index(from, statemachine.None); i >= 0 {
		all = append(all, statemachine.Transition{Event: event, To: to})
		from = slices.Delete(slices.Clone(from), i, i+1)
	}
	if len(from) > 0 {
		all = append(all, statemachine.Transition{Event: event, From: from, To: to})
	}
	return all
}
