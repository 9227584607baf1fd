package redis_test

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/rueidis"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/gatewaytest"
	"github.com/pawl-go/pawl/gateway/redis"
	"github.com/pawl-go/pawl/gateway/redis/internal/redisserver"
)

// Redis alone is for handlers that write nothing to a database, such as one that sends a mail.
func ExampleOpen() {
	ctx := context.Background()
	server, err := redisserver.Run(ctx) // for the example
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr}, DisableCache: true, ForceSingleClient: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	backend, err := redis.Open(ctx, redis.Config{Client: client, ResponseTTL: 7 * 24 * time.Hour})
	if err != nil {
		fmt.Println(err) // such as that the server may evict keys, and what to set
		return
	}

	// A gateway with this backend does the rest for each request:
	key := gateway.Key{Tenant: "acme", Route: "POST /mails", Value: "8e03978e"}
	run, _, err := backend.Begin(ctx, key)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, _, err = backend.Begin(ctx, key)
	fmt.Println("while it runs:", err)
	fmt.Println(run.Finish(ctx, gateway.Result{Response: []byte("sent")}))
	_, stored, err := backend.Begin(ctx, key)
	fmt.Println(string(stored), err)
	// Output:
	// while it runs: a request with the same key is running
	// <nil>
	// sent <nil>
}

// A process starts and serves requests while Redis is down: the decider works alone. A real
// one has the backend of gateway/postgres.
func ExampleNewHybrid() {
	ctx, decider := context.Background(), gatewaytest.NewMemory(0)
	hybrid, err := redis.NewHybrid(redis.HybridConfig{Decider: decider})
	if err != nil {
		fmt.Println(err)
		return
	}
	connect := func() error { // is called until it succeeds
		client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{"127.0.0.1:1"}, DisableCache: true, ForceSingleClient: true})
		if err != nil {
			return err
		}
		fast, err := redis.Open(ctx, redis.Config{Client: client})
		if err != nil {
			return err
		}
		hybrid.Use(fast)
		return nil
	}
	fmt.Println("Redis is down:", connect() != nil)

	key := gateway.Key{Tenant: "acme", Route: "POST /orders", Value: "8e03978e"}
	run, _, err := hybrid.Begin(ctx, key)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(run.Finish(ctx, gateway.Result{Response: []byte("created")}))
	_, stored, err := hybrid.Begin(ctx, key)
	fmt.Println(string(stored), err)
	// Output:
	// Redis is down: true
	// <nil>
	// created <nil>
}
