package replay

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Verified is the result of comparing the entities with those that the topics make.
type Verified struct {
	Entities int64 `json:"entities"` // that the topics make
	Steps    int64 `json:"steps"`    // that the topics make

	// Whole counts the live rows that are compared, with their whole history.
	Whole int64 `json:"whole"`

	// Given counts the steps that no record makes, and that were taken from the history.
	Given int64 `json:"given,omitempty"`

	// Cut counts the entities with steps from elsewhere, with steps that another version of the
	// machine has made otherwise, or with steps of records that also made such a step of
	// another entity. Only the steps before the first of these are compared, and not the row. It
	// also counts the entities whose history begins in the middle, if the topics do not make what
	// was before: of these nothing is compared.
	Cut int64 `json:"cut"`

	// Different counts the entities that differ, and Kinds how, where one may differ in several
	// ways. Differences names the first of them, by machine and key.
	Different   int64                    `json:"different"`
	Kinds       map[DifferenceKind]int64 `json:"kinds,omitempty"`
	Differences []Difference             `json:"differences,omitempty"`
}

// A Difference is an entity that is not what the topics make of it.
type Difference struct {
	Machine string           `json:"machine"`
	Entity  string           `json:"entity"`
	Kinds   []DifferenceKind `json:"kinds"`
	Columns []string         `json:"columns,omitempty"` // of Data

	// Version is the first version whose step differs, and Live and Topics are the steps that led to
	// it; nil if there is none. Version is 0 if the steps are the same.
	Version int64 `json:"version,omitempty"`
	Live    *Step `json:"live,omitempty"`
	Topics  *Step `json:"topics,omitempty"`
}

// A DifferenceKind says how an entity differs.
type DifferenceKind string

// The kinds of differences. The last four are about the first step that differs.
const (
	MissingRow DifferenceKind = "missing row" // the table has no row
	ExtraRow   DifferenceKind = "extra row"   // the topics make no such entity
	State      DifferenceKind = "state"       // of the row
	Version    DifferenceKind = "version"     // of the row
	Data       DifferenceKind = "data"        // columns of the row that the framework writes

	MissingStep DifferenceKind = "missing step" // the history lacks it
	ExtraStep   DifferenceKind = "extra step"   // the topics do not make it
	Swapped     DifferenceKind = "swapped steps"
	OtherStep   DifferenceKind = "other step"
)

// A Step is a row of the history.
type Step struct {
	Version    int64  `json:"version"`
	Event      string `json:"event"`
	From       string `json:"from,omitempty"`
	To         string `json:"to"`
	MessageID  string `json:"message_id"`
	Topic      string `json:"topic,omitempty"`
	Partition  int32  `json:"partition"`
	Offset     int64  `json:"offset"`
	Definition int    `json:"definition"`
}

// isOf reports whether two steps are of the same message and event.
func (s *Step) isOf(t *Step) bool {
	return s != nil && t != nil && s.MessageID == t.MessageID && s.Event == t.Event
}

// explainAtOnce is the number of entities whose history is read at once.
const explainAtOnce = 500

// explain reads table found, and says what each difference is.
func (h *shadow) explain(ctx context.Context, tx pgx.Tx, v *Verified) error {
	_, err := tx.Exec(ctx, fmt.Sprintf("DECLARE found NO SCROLL CURSOR FOR SELECT * FROM %s.found ORDER BY machine, entity", h.name))
	if err != nil {
		return fmt.Errorf("read the differences: %w", err)
	}
	for {
		rows, err := tx.Query(ctx, fmt.Sprintf("FETCH %d FROM found", explainAtOnce))
		if err != nil {
			return fmt.Errorf("read the differences: %w", err)
		}
		found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[found])
		if err != nil || len(found) == 0 {
			return err
		}
		if err := h.explainSome(ctx, tx, found, v); err != nil {
			return err
		}
	}
}

// A found is a row of table found.
type found struct {
	Machine, Entity                string
	Path                           *int64
	Columns                        []string
	Missing, Extra, State, Version *bool
}

func (h *shadow) explainSome(ctx context.Context, tx pgx.Tx, all []found, v *Verified) error {
	var machines, entities []string
	for _, f := range all {
		if f.Path != nil {
			machines, entities = append(machines, f.Machine), append(entities, f.Entity)
		}
	}
	live, err := steps(ctx, tx, h.live, machines, entities)
	if err != nil {
		return err
	}
	topics, err := steps(ctx, tx, h.name, machines, entities)
	if err != nil {
		return err
	}
	for _, f := range all {
		d := Difference{Machine: f.Machine, Entity: f.Entity, Columns: f.Columns}
		for _, k := range []struct {
			is   *bool
			kind DifferenceKind
		}{{f.Missing, MissingRow}, {f.Extra, ExtraRow}, {f.State, State}, {f.Version, Version}} {
			if k.is != nil && *k.is {
				d.Kinds = append(d.Kinds, k.kind)
			}
		}
		if len(f.Columns) > 0 {
			d.Kinds = append(d.Kinds, Data)
		}
		if f.Path != nil {
			key := [2]string{f.Machine, f.Entity}
			d.Version, d.Live, d.Topics = *f.Path, live[key][*f.Path], topics[key][*f.Path]
			d.Kinds = append(d.Kinds, kindOfStep(*f.Path, live[key], topics[key]))
		}
		v.Different++
		for _, k := range d.Kinds {
			v.Kinds[k]++
		}
		if len(v.Differences) < h.cfg.Differences {
			v.Differences = append(v.Differences, d)
		}
	}
	return nil
}

// kindOfStep says how the first step that differs does so.
func kindOfStep(at int64, live, topics map[int64]*Step) DifferenceKind {
	is, must := live[at], topics[at]
	switch {
	case is == nil:
		return MissingStep
	case must == nil:
		return ExtraStep
	case is.isOf(topics[at+1]) && must.isOf(live[at+1]):
		return Swapped
	case is.isOf(topics[at+1]):
		return MissingStep
	case must.isOf(live[at+1]):
		return ExtraStep
	}
	return OtherStep
}

const stepsSQL = `
SELECT h.machine, h.entity, h.version, h.event, h.from_state, h.to_state, h.message_id, h.topic, h.partition, h."offset", h.definition_version
FROM unnest($1::text[], $2::text[]) AS u(machine, entity) JOIN %s.transitions AS h ON h.machine = u.machine AND h.entity = u.entity`

// steps reads the histories of entities in a framework's schema.
func steps(ctx context.Context, tx pgx.Tx, schema string, machines, entities []string) (map[[2]string]map[int64]*Step, error) {
	all := make(map[[2]string]map[int64]*Step, len(entities))
	rows, err := tx.Query(ctx, fmt.Sprintf(stepsSQL, schema), machines, entities)
	if err == nil {
		var key [2]string
		var s Step
		into := []any{&key[0], &key[1], &s.Version, &s.Event, &s.From, &s.To, &s.MessageID, &s.Topic, &s.Partition, &s.Offset, &s.Definition}
		_, err = pgx.ForEachRow(rows, into, func() error {
			if all[key] == nil {
				all[key] = make(map[int64]*Step)
			}
			all[key][s.Version] = new(s)
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("read the history of schema %s: %w", schema, err)
	}
	return all, nil
}

// write writes the result for a person to read.
func (v *Verified) write(b *strings.Builder, withDifferences bool) {
	fmt.Fprintf(b, "\ncompared %d entities with %d steps", v.Entities, v.Steps)
	if v.Given > 0 {
		fmt.Fprintf(b, "; %d of them no record makes, so they are taken as they are", v.Given)
	}
	if v.Cut > 0 {
		fmt.Fprintf(b, "; %d entities have steps that can't be compared, nor what follows them", v.Cut)
	}
	if v.Different == 0 {
		b.WriteString("\nno difference")
		if v.Cut > 0 {
			fmt.Fprintf(b, " in what could be compared: %d rows with their whole history, and the beginnings of %d histories", v.Whole, v.Cut)
		}
		return
	}
	fmt.Fprintf(b, "\nentities that differ: %d", v.Different)
	for _, k := range []DifferenceKind{MissingRow, ExtraRow, State, Version, Data, MissingStep, ExtraStep, Swapped, OtherStep} {
		if n := v.Kinds[k]; n > 0 {
			fmt.Fprintf(b, "\n%12d %s", n, k)
		}
	}
	const most = 10
	for i, d := range v.Differences {
		if !withDifferences {
			break
		}
		if i == most {
			fmt.Fprintf(b, "\n%12s and %d more", "", v.Different-most)
			break
		}
		fmt.Fprintf(b, "\n%12s %s", "", d)
	}
}

// String returns the difference in words.
func (d Difference) String() string {
	kinds := make([]string, len(d.Kinds))
	for i, k := range d.Kinds {
		if kinds[i] = string(k); k == Data {
			kinds[i] += " (" + strings.Join(d.Columns, ", ") + ")"
		}
	}
	text := fmt.Sprintf("%s %s: %s", d.Machine, d.Entity, strings.Join(kinds, ", "))
	if d.Version > 0 {
		text += fmt.Sprintf("; the step to version %d is %s, and the topics make %s", d.Version, d.Live, d.Topics)
		if d.Live != nil && d.Topics != nil && d.Live.MessageID != d.Topics.MessageID {
			text += fmt.Sprintf("; the messages are %q and %q", d.Live.MessageID, d.Topics.MessageID)
		}
	}
	return text
}

// String returns the step in words.
func (s *Step) String() string {
	if s == nil {
		return "missing"
	}
	by := "a direct change"
	if s.Topic != "" {
		by = fmt.Sprintf("%s/%d@%d", s.Topic, s.Partition, s.Offset)
	}
	return fmt.Sprintf("%s from %q to %q by %s (definition %d)", s.Event, s.From, s.To, by, s.Definition)
}
