package versioning_test

import (
	"fmt"
	"reflect"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

type captureEvent struct {
	Amount int64    `json:"amount"`
	Notes  []string `json:"notes"`
}

// The text of an event's data gives the same value back, also beyond the integers of a
// float64, and tells nil from empty.
func ExampleDataType() {
	capture, err := versioning.DataTypeOf(reflect.TypeFor[captureEvent]())
	if err != nil {
		panic(err)
	}
	text, _ := capture.Encode(captureEvent{Amount: 1<<53 + 1, Notes: []string{}})
	fmt.Println(string(text))
	value, _ := capture.Decode(text)
	fmt.Printf("%+v, notes are nil: %v\n", value, value.(captureEvent).Notes == nil)
	text, _ = capture.AppendTo([]byte("data="), captureEvent{Amount: 5})
	fmt.Println(string(text))

	// A clone shares no memory with the original.
	original := captureEvent{Notes: []string{"a"}}
	clone, _ := capture.Clone(original)
	clone.(captureEvent).Notes[0] = "changed"
	fmt.Println(original.Notes, capture.Flat(), versioning.IsFlat(capture.Type()))

	_, err = versioning.DataTypeOf(reflect.TypeFor[struct{ Done chan int }]())
	fmt.Println(err)
	// Output:
	// {"amount":9007199254740993,"notes":[]}
	// {Amount:9007199254740993 Notes:[]}, notes are nil: false
	// data={"amount":5}
	// [a] false false
	// struct { Done chan int }.Done: a chan can't be stored
}

// A store reads and writes the columns that the row type of a machine names.
func ExampleRowFields() {
	type payment struct {
		Captured int64  `db:"captured"`
		Risk     string `db:"risk,readonly"`
		Note     string
	}
	fields, err := versioning.RowFields(reflect.TypeFor[payment]())
	for _, f := range fields {
		fmt.Println(f.Column, f.Type, f.ReadOnly)
	}
	fmt.Println(err)
	// Output:
	// captured int64 false
	// risk string true
	// field versioning_test.payment.Note names no column; add a tag such as db:"note", or move the field out of the row
}

// Stores pass the functions of a machine to the fold, and restore the data of parked
// records. This is how a store in memory does it.
func ExampleNewFunctions() {
	machine := statemachine.MustCompile(statemachine.Definition{
		Name: "payment", Version: 1,
		Transitions: []statemachine.Transition{{
			Event: "captured", To: "captured",
			Do: statemachine.Do(func(*statemachine.Firing, *struct{}, captureEvent) error { return nil }),
		}},
		Terminal: statemachine.In("captured"),
	})
	rules := versioningtest.NewMemory(versioning.Rules{Machine: machine}).Rules()
	r := &versioning.Record{Changes: []versioning.Change{{Key: "p1", Event: "captured", Data: captureEvent{Amount: 5}}}}
	versioning.Prepare(rules, r)
	fmt.Println(string(r.Encoded[0]))

	// The digest of the change covers its data.
	d := versioning.NewDigester("captured")
	d.Data(r.Encoded[0])
	fmt.Println(d.Sum() == r.Digest(0))

	parked := &versioning.Record{Changes: []versioning.Change{{Machine: "payment", Key: "p1", Event: "captured"}}}
	payment := rules["payment"]
	err := payment.DecodeData(parked, 0, r.Encoded[0])
	fmt.Printf("%+v %v\n", parked.Changes[0].Data, err)

	without, err := versioning.NewFunctions(order, nil)
	fmt.Println(without == nil, err)
	// Output:
	// {"amount":5}
	// true
	// {Amount:5 Notes:[]} <nil>
	// true <nil>
}
