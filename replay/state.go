package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/pawl-go/pawl/versioning"
)

// A state is how far a replay is. It is kept as JSON.
type state struct {
	ID     string   `json:"id"` // random
	Topics []string `json:"topics"`
	From   From     `json:"from,omitzero"`
	Group  string   `json:"group,omitempty"`
	Report Report   `json:"report"`

	// Machines has the hashes of the machines' outlines, by name.
	Machines map[string]string `json:"machines"`

	// Columns are those that records have set, by machine.
	Columns map[string][]string `json:"columns,omitempty"`

	// Server is the one that Apply writes to.
	Server versioning.Server `json:"server,omitempty"`

	// Several says that records change several entities.
	Several bool `json:"several,omitempty"`

	// Given says that the steps that no record makes were applied.
	Given bool `json:"given,omitempty"`

	// Clean is false if a dry run has something in memory without which it can't go on.
	Clean bool `json:"clean"`
}

// A keeper keeps the state.
type keeper interface {
	load(ctx context.Context) (*state, error) // nil if there is none
	save(ctx context.Context, s *state) error
}

// ErrState says that the kept state is of another replay.
var ErrState = errors.New("the state is of another replay")

// isOf returns an error unless the state is of a replay with this configuration.
func (s *state) isOf(c *Config, kind string) error {
	if !maps.Equal(s.Machines, c.machines()) {
		return fmt.Errorf("%w: it is of other definitions of the machines; go back to these, or remove the state", ErrState)
	}
	if s.Report.Kind != kind || !slices.Equal(s.Topics, c.Topics) || !s.From.equal(c.From) || s.Group != c.Group {
		return fmt.Errorf("%w: it is a %s of topics %q; finish that one, or remove the state", ErrState, s.Report.Kind, s.Topics)
	}
	return nil
}

// left reports whether there is anything left to be read.
func (s *state) left() bool {
	return slices.ContainsFunc(s.Report.Ranges, func(r Range) bool { return !r.done() })
}

// startOver makes everything be read again.
func (s *state) startOver() {
	for i := range s.Report.Ranges {
		s.Report.Ranges[i].Next = s.Report.Ranges[i].First
	}
	s.Report.Records, s.Report.Verdicts, s.Report.Released = 0, nil, nil
}

// equal reports whether two replays begin at the same offsets.
func (f From) equal(g From) bool {
	return f.Time.Equal(g.Time) && reflect.DeepEqual(f.Offsets, g.Offsets)
}

// machines returns the hashes of the machines' outlines.
func (c *Config) machines() map[string]string {
	all := make(map[string]string, len(c.Tables))
	for _, t := range c.Tables {
		outline := t.Machine.Outline()
		all[outline.Name] = fmt.Sprintf("%d %s", outline.Version, outline.Hash())
	}
	return all
}

// A stateFile is a file with the state.
type stateFile string

func (f stateFile) load(context.Context) (*state, error) {
	if f == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	text, err := os.ReadFile(string(f))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil //nolint:nilnil // there is none
	}
	s := &state{}
	if err == nil {
		err = json.Unmarshal(text, s)
	}
	if err != nil {
		return nil, fmt.Errorf("read the state of the replay: %w", err)
	}
	return s, nil
}

// save replaces the file, so that it is whole whenever the process is killed.
func (f stateFile) save(_ context.Context, s *state) error {
	if f == "" {
		return nil
	}
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode the state of the replay: %w", err)
	}
	next := filepath.Join(filepath.Dir(string(f)), "."+filepath.Base(string(f))+".next")
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return fmt.Errorf("write the state of the replay: %w", err)
	}
	if err := os.Rename(next, string(f)); err != nil {
		return fmt.Errorf("write the state of the replay: %w", err)
	}
	return nil
}

func (f stateFile) remove() error {
	if f == "" {
		return nil
	}
	if err := os.Remove(string(f)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the state of the replay: %w", err)
	}
	return nil
}
