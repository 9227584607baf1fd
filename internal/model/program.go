package model

import (
	"errors"
	"fmt"
	"math/big"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pawl-go/pawl/statemachine"
)

// A Definition is a machine whose transitions may compute.
type Definition struct {
	statemachine.Definition

	Programs []Program // by transition; nil if none computes
}

// A Program is the condition and the action of a transition as data. The framework and
// the model both call it.
type Program struct {
	Condition Condition
	Action    []Op
}

// A Condition is a condition by the name of what it looks at. The zero value always holds.
type Condition struct {
	Of    string
	Least int64
}

// An Op is a statement of an action.
type Op string

// conditions have, for each Of, the number that is compared with Least.
var conditions = map[string]func(Row, Data) int64{
	"balance": func(row Row, _ Data) int64 { return row.Balance },
	"after":   func(row Row, e Data) int64 { return row.Balance + e.Amount },
	"amount":  func(_ Row, e Data) int64 { return e.Amount },
	"notes":   func(row Row, _ Data) int64 { return int64(len(row.Notes)) % 3 },
	"doc":     func(row Row, _ Data) int64 { return row.Doc["sum"] },
	"price": func(row Row, _ Data) int64 {
		if !row.Price.Valid {
			return 0
		}
		return thousandths(row.Price).Int64() / 10 % 4
	},
	"credit": func(row Row, _ Data) int64 {
		if row.Credit == nil {
			return 0
		}
		return *row.Credit
	},
}

// holds is called by the framework, and must not be able to change anything.
func (c Condition) holds(row Row, e Data) bool {
	n := conditions[c.Of](row, e)
	spoil(&row, e)
	row.Balance = -1
	return n >= c.Least
}

// spoil changes what a row and data point to.
func spoil(row *Row, e Data) {
	for i := range row.Notes {
		row.Notes[i] = "spoilt"
	}
	if row.Credit != nil {
		*row.Credit = -1000
	}
	if row.Price.Int != nil {
		row.Price.Int.SetInt64(-1000)
	}
	if row.Doc != nil {
		row.Doc["spoilt"] = 1
	}
	for i := range e.Notes {
		e.Notes[i] = "spoilt"
	}
	if e.Tags != nil {
		e.Tags["spoilt"] = 1
	}
}

var ops = map[Op]func(*statemachine.Firing, *Row, Data) error{
	"add": func(_ *statemachine.Firing, row *Row, e Data) error {
		row.Balance += e.Amount
		return nil
	},
	"note": func(f *statemachine.Firing, row *Row, e Data) error {
		note := fmt.Sprintf("%s/%s %s %s->%s %d at %d: %v", f.Machine, f.Key, f.Event, f.From, f.To, f.Version, f.Time.UnixMilli(), e)
		row.Notes = append(append(row.Notes, e.Notes...), note)
		return nil
	},
	"forget": func(_ *statemachine.Firing, row *Row, _ Data) error {
		row.Notes = row.Notes[:len(row.Notes)/2]
		return nil
	},
	"credit": func(_ *statemachine.Firing, row *Row, e Data) error {
		switch {
		case row.Credit == nil:
			row.Credit = new(e.Amount)
		case *row.Credit%3 == 0:
			row.Credit = nil
		default:
			*row.Credit++
		}
		return nil
	},
	"price": func(_ *statemachine.Firing, row *Row, e Data) error {
		n := big.NewInt(e.Amount % 100 * 5)
		if row.Price.Valid {
			n.Add(n, thousandths(row.Price))
		}
		row.Price = pgtype.Numeric{Int: n, Exp: -3, Valid: true}
		return nil
	},
	"doc": func(_ *statemachine.Firing, row *Row, e Data) error {
		if row.Doc == nil {
			row.Doc = map[string]int64{}
		}
		for tag, n := range e.Tags {
			row.Doc[tag] += n
		}
		row.Doc["sum"] += e.Amount % 10
		return nil
	},
	"spoil data": func(_ *statemachine.Firing, _ *Row, e Data) error {
		spoil(&Row{}, e)
		return nil
	},
	"refuse": func(_ *statemachine.Firing, row *Row, e Data) error {
		if row.Balance < 0 {
			spoil(row, e)
			return errors.New("below zero")
		}
		return nil
	},
	"panic": func(_ *statemachine.Firing, row *Row, e Data) error {
		if e.Amount == 7 {
			spoil(row, e)
			panic("seven")
		}
		return nil
	},
	"wait": func(_ *statemachine.Firing, row *Row, e Data) error {
		if row.Balance < e.After {
			spoil(row, e)
			return fmt.Errorf("it is %d: %w", row.Balance, statemachine.NotYet(errors.New("wait")))
		}
		return nil
	},
}

func (p Program) act(f *statemachine.Firing, row *Row, e Data) error {
	for _, op := range p.Action {
		if err := ops[op](f, row, e); err != nil {
			return err
		}
	}
	return nil
}

// bind makes functions of the programs.
func (d *Definition) bind() {
	for i, p := range d.Programs {
		if c := p.Condition; c.Of != "" {
			d.Transitions[i].When = statemachine.When(fmt.Sprint(c), c.holds)
		}
		if len(p.Action) > 0 {
			d.Transitions[i].Do = statemachine.Do(p.act)
		}
	}
}
