package gatewaytest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/gatewaytest"
)

// A backend's test runs the suite.
func ExampleTest() { //nolint:testableexamples // it needs a *testing.T
	test := func(t *testing.T) {
		gatewaytest.Test(t, func(*testing.T) gatewaytest.Subject {
			memory := gatewaytest.NewMemory(time.Hour)
			return gatewaytest.Subject{
				Open:   func(*testing.T) gateway.Backend { return memory },
				Expire: func(*testing.T) { gatewaytest.Expire(memory) },
			}
		})
	}
	_ = test
}

// The first caller runs, and the others get what it has stored.
func ExampleNewMemory() {
	ctx, memory := context.Background(), gatewaytest.NewMemory(0)
	key := gateway.Key{Tenant: "acme", Route: "POST /orders", Value: "8e03978e"}
	run, _, err := memory.Begin(ctx, key)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, _, err = memory.Begin(ctx, key)
	fmt.Println(err)
	fmt.Println(run.Finish(ctx, gateway.Result{Response: []byte("created")}))
	_, stored, err := memory.Begin(ctx, key)
	fmt.Println(string(stored), err, memory.Len())
	// Output:
	// a request with the same key is running
	// <nil>
	// created <nil> 1
}
