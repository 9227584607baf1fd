package statemachine_test

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/pawl-go/pawl/statemachine"
)

// A state is renamed. Without a migration, the entities in it would be stranded.
func ExampleCompare() {
	before := statemachine.Definition{
		Name: "ticket", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "opened", To: "open"},
			{Event: "closed", From: statemachine.In("open"), To: "done"},
		},
		Terminal: statemachine.In("done"),
	}
	after := statemachine.Definition{
		Name: "ticket", Version: 2,
		Transitions: []statemachine.Transition{
			{Event: "opened", To: "waiting"},
			{Event: "closed", From: statemachine.In("waiting"), To: "done"},
		},
		Terminal: statemachine.In("done"),
	}
	c, err := statemachine.Compare(statemachine.MustCompile(before).Outline(), statemachine.MustCompile(after).Outline())
	fmt.Println(c, err)

	after.Migrations = []statemachine.Migration{{From: statemachine.In("open"), To: "waiting"}}
	c, _ = statemachine.Compare(statemachine.MustCompile(before).Outline(), statemachine.MustCompile(after).Outline())
	fmt.Println(len(c.Stranding()))
	// Output:
	// ticket: from version 1 to 2
	//   stranding  state "open" is gone: entities in it are stranded; declare a Migration from it, or keep the state
	//   changed    event "opened" in state nothing (creation) leads to "waiting", and led to "open"
	//   harmless   state "waiting" is new <nil>
	// 0
}

func ExampleOutline() {
	m := statemachine.MustCompile(statemachine.Definition{
		Name: "ticket", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "opened", To: "open"},
			{Event: "closed", From: statemachine.In("open"), To: "done"},
		},
		Terminal: statemachine.In("done"),
	})
	text, err := json.Marshal(m.Outline())
	fmt.Println(string(text), err)
	fmt.Println(m.Outline().Knows("open"), m.Outline().Takes("reopened"), m.Outline().Leads("open", "closed"))
	// Output:
	// {"name":"ticket","version":1,"states":["done","open"],"terminal":["done"],"arrows":[{"event":"opened","targets":[{"to":"open"}]},{"from":"open","event":"closed","targets":[{"to":"done"}]}]} <nil>
	// true false true
}

// Two outlines with the same hash differ at most in their version.
func ExampleOutline_Hash() {
	d := statemachine.Definition{
		Name: "ticket", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "opened", To: "waiting"},
			{Event: "closed", From: statemachine.In("waiting"), To: "done"},
		},
		Terminal:   statemachine.In("done"),
		Migrations: []statemachine.Migration{{From: statemachine.In("open"), To: "waiting"}},
	}
	before := statemachine.MustCompile(d)
	d.Version = 2
	after := statemachine.MustCompile(d)
	fmt.Println(before.Outline().Hash() == after.Outline().Hash())
	d.Revision = "1f3c"
	fmt.Println(before.Outline().Hash() == statemachine.MustCompile(d).Outline().Hash())
	fmt.Println(after.Retired())
	// Output:
	// true
	// false
	// [open]
}

// An outline that was kept, in a file or a database, can be drawn without the machine's functions.
func ExampleOutline_Mermaid() {
	outline := statemachine.MustCompile(statemachine.Definition{
		Name: "ticket", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "opened", To: "open"},
			{Event: "closed", From: statemachine.In("open"), To: "done"},
		},
		Terminal: statemachine.In("done"),
	}).Outline()
	text, err := json.Marshal(outline)
	var kept statemachine.Outline
	fmt.Println(err, json.Unmarshal(text, &kept))
	fmt.Print(kept.Mermaid())
	fmt.Println("arrows for Graphviz:", strings.Count(kept.Graphviz(), "->"))
	// Output:
	// <nil> <nil>
	// stateDiagram-v2
	//     state "open" as s1_open
	//     state "done" as s2_done
	//     [*] --> s1_open : opened
	//     s1_open --> s2_done : closed
	//     s2_done --> [*]
	// arrows for Graphviz: 2
}
