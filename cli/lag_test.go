package cli_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/testenv"
)

// TestLag compares the marks with the ends of the partitions.
func TestLag(t *testing.T) {
	t.Parallel()
	url, brokers := testenv.Postgres(t, withBulbs), testenv.Brokers(t)
	topic := "lag-" + strings.ToLower(t.Name())
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	created, err := kadm.NewClient(client).CreateTopic(t.Context(), 2, 1, nil, topic)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Partition: int32(i % 2), Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	count(t, url, fmt.Sprintf(`WITH added AS (
	INSERT INTO pawl.marks ("group", topic, topic_id, partition, "offset") VALUES
		('g', '%[1]s', '%x', 0, 1), ('g', '%[1]s', '%[2]x', 1, 2), ('g', '%[1]s', '%032[3]d', 0, 1) RETURNING 1
) SELECT count(*) FROM added`, topic, [16]byte(created.ID), 7))

	stdout, stderr, status := (&console{url: url}).run(t, "status", "--output", "json", "--brokers", strings.Join(brokers, ","))
	var view struct {
		Groups []struct {
			Group, Topic string
			Lag          *int64
			Partitions   []struct{ Lag *int64 }
		}
	}
	if err := json.Unmarshal([]byte(stdout), &view); err != nil || status != 0 {
		t.Fatalf("status %d, %v: %s%s", status, err, stdout, stderr)
	}
	for _, g := range view.Groups {
		switch {
		case g.Group != "g": // Kafka does not have its topic
			if g.Lag != nil {
				t.Errorf("the lag of %+v is %d", g, *g.Lag)
			}
		case g.Lag == nil || *g.Lag != 2 || len(g.Partitions) != 3:
			t.Errorf("group %+v; want a lag of 2, without the topic that was re-created", g)
		}
	}
	stdout, _, _ = (&console{url: url}).run(t, "status", "--brokers", strings.Join(brokers, ","))
	if !strings.Contains(stdout, "LAG") || !strings.Contains(stdout, "?") {
		t.Errorf("no lag in\n%s", stdout)
	}
}
