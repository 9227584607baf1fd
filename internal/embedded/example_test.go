package embedded_test

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/embedded"
)

func ExampleStartPostgres() {
	ctx := context.Background()
	server, err := embedded.StartPostgres(ctx, embedded.PostgresConfig{Durable: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()

	pool, err := pgxpool.New(ctx, server.URL())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	var user string
	if err := pool.QueryRow(ctx, "SELECT current_user").Scan(&user); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("connected as", user)
	// Output: connected as postgres
}

func ExampleStartKafka() {
	cluster, err := embedded.StartKafka(embedded.KafkaConfig{Topics: map[string]int32{"orders": 3}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cluster.Close()

	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.Brokers()...), kgo.DefaultProduceTopic("orders"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	record := &kgo.Record{Key: []byte("order-1"), Value: []byte("order.placed")}
	if err := client.ProduceSync(context.Background(), record).FirstErr(); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("produced at offset", record.Offset)
	// Output: produced at offset 0
}
