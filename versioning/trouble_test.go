package versioning_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/pawl-go/pawl/versioning"
)

func TestTrouble(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	returns := func(err error) func(*versioning.Record) ([]versioning.Change, error) {
		return func(*versioning.Record) ([]versioning.Change, error) { return nil, err }
	}
	cases := map[string]struct {
		decode  func(*versioning.Record) ([]versioning.Change, error)
		trouble bool
	}{
		"none":        {returns(nil), false},
		"verdict":     {returns(down), false},
		"refusal":     {returns(versioning.Refuse(versioning.ReasonUnknownEvent, "no")), false},
		"fatal":       {returns(&versioning.Error{Cause: versioning.Fatal, Err: down}), false},
		"trouble":     {returns(versioning.Trouble(down)), true},
		"wrapped":     {returns(fmt.Errorf("decode: %w", versioning.Trouble(down))), true},
		"nil trouble": {returns(versioning.Trouble(nil)), false},
		"panic": {func(*versioning.Record) ([]versioning.Change, error) {
			panic(versioning.Trouble(down))
		}, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var r versioning.Record
			r.Decode(c.decode)
			got := r.Trouble()
			if (got != nil) != c.trouble {
				t.Fatalf("Trouble = %v for %v", got, r.Err)
			}
			if c.trouble && !errors.Is(got, down) {
				t.Errorf("%v does not wrap the cause", got)
			}
		})
	}
}

// A decode function that needs a service which does not answer.
func ExampleTrouble() {
	errDown := errors.New("the registry does not answer")
	var r versioning.Record
	r.Decode(func(*versioning.Record) ([]versioning.Change, error) { return nil, versioning.Trouble(errDown) })
	fmt.Println("decode again later:", r.Trouble())

	r.Decode(func(*versioning.Record) ([]versioning.Change, error) { return nil, errors.New("not a message") })
	fmt.Println("trouble:", r.Trouble(), "- rejected:", r.Err)
	// Output:
	// decode again later: the registry does not answer
	// trouble: <nil> - rejected: not a message
}

func ExampleRecord_Trouble() {
	down := true
	decode := func(r *versioning.Record) ([]versioning.Change, error) {
		if down {
			return nil, versioning.Trouble(errors.New("down"))
		}
		return []versioning.Change{{Key: string(r.Key), Event: "order.placed"}}, nil
	}
	r := versioning.Record{Key: []byte("42")}
	for r.Decode(decode); r.Trouble() != nil; r.Decode(decode) { // a worker waits before each attempt
		down = false
	}
	fmt.Println(r.Changes[0].Key, r.Err)
	// Output: 42 <nil>
}

func ExampleCloudEventID() {
	fmt.Println(versioning.CloudEventID("/checkout", "a1"))
	// Output: /checkout a1
}
