package check

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A line is one step in a file of history.
type line struct {
	Machine string             `json:"machine"`
	Key     string             `json:"key"`
	Version int64              `json:"version"`
	Event   statemachine.Event `json:"event"`
	From    statemachine.State `json:"from,omitempty"`
	To      statemachine.State `json:"to"`
}

// WriteHistory writes the steps of the entities of a machine that have moved last, at most as many
// entities as it says, as lines of JSON for [ReadHistory]. Negative means all. A test can fold them
// through a changed machine without a database: package pawltest has a call for that. The lines have
// the keys of the entities, and nothing of their rows.
func WriteHistory(ctx context.Context, w io.Writer, r *postgres.Reader, machine string, entities int) error {
	out := bufio.NewWriter(w)
	e := json.NewEncoder(out)
	err := r.History(ctx, machine, entities, func(s *postgres.HistoryStep) error {
		return e.Encode(line{machine, s.Key, s.Version, s.Event, s.From, s.To})
	})
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return fmt.Errorf("write the history of machine %q: %w", machine, err)
	}
	return nil
}

// ReadHistory returns the steps of a machine that [WriteHistory] has written. It skips those of
// other machines, so one file may have several.
func ReadHistory(r io.Reader, machine string) iter.Seq2[postgres.HistoryStep, error] {
	return func(yield func(postgres.HistoryStep, error) bool) {
		d := json.NewDecoder(r)
		d.DisallowUnknownFields()
		for n := 1; ; n++ {
			var l line
			err := d.Decode(&l)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(postgres.HistoryStep{}, fmt.Errorf("read step %d of a history: this is not a file that check.WriteHistory has written: %w", n, err))
				return
			}
			if l.Machine == machine && !yield(postgres.HistoryStep{Key: l.Key, Version: l.Version, Event: l.Event, From: l.From, To: l.To}, nil) {
				return
			}
		}
	}
}

// Fold folds steps through a definition, as [Run] does with those of a database. The steps of an
// entity come together, in the order of its versions. An error is the first one of steps.
func Fold(m *statemachine.Machine, steps iter.Seq2[postgres.HistoryStep, error]) (*History, error) {
	f := newFold(m)
	for s, err := range steps {
		if err != nil {
			return nil, err
		}
		if err := f.step(&s); err != nil {
			return nil, err
		}
	}
	return f.end(), nil
}

// Same reports whether every entity comes to the same state in the same way.
func (h *History) Same() bool { return h.Elsewhere+h.Detours == 0 }

// String returns the history for people.
func (h *History) String() string {
	text := ""
	h.write(func(_, format string, args ...any) { text += fmt.Sprintf(format, args...) + "\n" })
	return text
}
