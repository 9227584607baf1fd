package check

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/pawl-go/pawl/statemachine"
)

// A file has the outlines of definitions. CI keeps it beside the code, so that a change of a
// definition can be checked without a database.
type file struct {
	Machines []statemachine.Outline `json:"machines"`
}

// Write writes the outlines of machines as JSON, for [Read].
func Write(w io.Writer, machines ...*statemachine.Machine) error {
	f := file{Machines: make([]statemachine.Outline, len(machines))}
	for i, m := range machines {
		f.Machines[i] = m.Outline()
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(f); err != nil {
		return fmt.Errorf("write definitions: %w", err)
	}
	return nil
}

// Read reads what [Write] has written.
func Read(r io.Reader) ([]statemachine.Outline, error) {
	var f file
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, fmt.Errorf("read definitions: this is not a file that check.Write has written: %w", err)
	}
	if len(f.Machines) == 0 {
		return nil, errNoMachines
	}
	return f.Machines, nil
}

var errNoMachines = errors.New("read definitions: the file has no machines; write it with check.Write")
