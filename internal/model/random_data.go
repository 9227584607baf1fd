package model

import (
	"fmt"
	"maps"
	"slices"

	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// Computing draws definitions whose transitions compute, some of them with branches.
func Computing(plain *rapid.Generator[Definition], identity versioning.Identity) *rapid.Generator[Definition] {
	return rapid.Custom(func(t *rapid.T) Definition {
		d := plain.Draw(t, "plain")
		base := d.Transitions
		d.Transitions = nil
		targets := distinctTargets(base)
		for _, transition := range base {
			for range rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, "conditional branches") {
				branch := transition
				if identity != versioning.ByState {
					branch.To = rapid.SampledFrom(targets).Draw(t, "to")
				}
				d.add(branch, Program{drawCondition(t), drawAction(t)})
			}
			last := Program{Action: drawAction(t)}
			if rapid.IntRange(0, 5).Draw(t, "no otherwise") == 5 {
				last.Condition = drawCondition(t)
			}
			d.add(transition, last)
		}
		d.bind()
		return d
	})
}

func (d *Definition) add(t statemachine.Transition, p Program) {
	d.Transitions, d.Programs = append(d.Transitions, t), append(d.Programs, p)
}

func distinctTargets(transitions []statemachine.Transition) (targets []statemachine.State) {
	for _, t := range transitions {
		if !slices.Contains(targets, t.To) {
			targets = append(targets, t.To)
		}
	}
	return targets
}

func drawCondition(t *rapid.T) Condition {
	return Condition{
		Of:    rapid.SampledFrom(slices.Sorted(maps.Keys(conditions))).Draw(t, "condition"),
		Least: rapid.Int64Range(1, 5).Draw(t, "least"),
	}
}

func drawAction(t *rapid.T) []Op {
	return append(
		rapid.SliceOfN(rapid.SampledFrom([]Op{"add", "note", "credit", "price", "doc", "forget"}), 0, 5).Draw(t, "ops"),
		rapid.SliceOfN(rapid.SampledFrom([]Op{"refuse", "wait", "panic", "spoil data", "add", "note"}), 0, 3).Draw(t, "more ops")...,
	)
}

// large is beyond the integers that a float64 can hold.
const large = 1<<53 + 1

// lastFault is the largest number of a fault in disturb.
func (m machine) lastFault() int {
	if m.programs == nil {
		return 5
	}
	return 6
}

// request draws what a part says besides its event, if the machine computes.
func (m machine) request(t *rapid.T, p *Part) {
	if m.programs == nil {
		return
	}
	if rapid.IntRange(0, 3).Draw(t, "sets") == 0 {
		p.Memo = rapid.SampledFrom([]string{"a", "b"}).Draw(t, "memo")
	}
	if rapid.IntRange(0, 99).Draw(t, "no data") == 99 {
		return
	}
	p.Data = &Data{
		Amount: rapid.SampledFrom([]int64{1, 2, 3, -1, -3, 5, 7, large, -large}).Draw(t, "amount"),
		After:  rapid.SampledFrom([]int64{0, 0, 1, 3, large}).Draw(t, "after"),
		Notes:  rapid.SampledFrom([][]string{nil, {}, {"x"}, {"y", "é\\\"{,"}}).Draw(t, "notes"),
		Tags:   rapid.SampledFrom([]map[string]int64{nil, {}, {"a": 1}, {"a": large, "": -1}}).Draw(t, "tags"),
	}
	*p.Data = p.Data.Clone()
}

// Writes draws what others write to the entities of a partition.
func Writes(partition int32) *rapid.Generator[[]Write] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Write {
		return Write{
			Key:    fmt.Sprintf("%d-%d", partition, rapid.IntRange(0, 2).Draw(t, "entity")),
			Column: rapid.SampledFrom(WriteColumns).Draw(t, "column"),
			N:      rapid.Int64Range(-3, 5).Draw(t, "n"),
		}
	}), 0, 3)
}
