package consumer_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/versioning"
)

// A refuser is a store that dead-letters every record, and releases one that was
// parked.
type refuser struct{ consumer.SplitByEntity }

func (*refuser) Prepare(*versioning.Record) {}

func (*refuser) Apply(_ context.Context, _ versioning.Server, records []*versioning.Record) (versioning.Result, error) {
	result := versioning.Result{}
	for _, r := range records {
		result.Outcomes = append(result.Outcomes, versioning.Outcome{
			Verdict: versioning.Rejected, Reason: versioning.ReasonIllegal, Detail: "secret detail",
			Entity: versioning.Entity{Machine: "order", Key: r.Changes[0].Key}, Event: r.Changes[0].Event,
		})
	}
	result.Released = []versioning.Settled{{
		Record:  &versioning.Record{Origin: versioning.Origin{Topic: "early", Partition: 3, Offset: 99}},
		Outcome: versioning.Outcome{Verdict: versioning.Diverged, Reason: versioning.ReasonVersionTaken},
	}}
	return result, nil
}

// A keeper is a store that parks every record because its event is unknown.
type keeper struct{ refuser }

func (*keeper) Apply(_ context.Context, _ versioning.Server, records []*versioning.Record) (versioning.Result, error) {
	result := versioning.Result{}
	for _, r := range records {
		result.Outcomes = append(result.Outcomes, versioning.Outcome{
			Verdict: versioning.Early, Reason: versioning.ReasonUnknownEvent, Detail: `machine "order" version 1 has no event "go"; did you mean "gone"?`,
			Entity: versioning.Entity{Machine: "order", Key: r.Changes[0].Key}, Event: r.Changes[0].Event,
		})
	}
	return result, nil
}

// A record that waits because no version has its event is logged, with the event that was meant.
func TestUnknownEventIsLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t)
		b.topic("orders", 1)
		b.produce("orders", 0, "order-1")
		cfg := b.config(consumer.Classic, &keeper{}, "orders")
		cfg.SweepEvery, cfg.FireEvery = -1, -1
		w := start(t, cfg)
		b.awaitCommitted("orders", 0, 1)
		w.stop()
		if n := len(w.logs.matching("WARN record parked; start workers whose machine has the event", "verdict=early reason=unknown_event", "did you mean")); n != 1 {
			t.Errorf("%d lines about the record, want 1", n)
		}
	})
}

// The first few dead letters are logged with what identifies them, and without their content.
func TestDeadLettersAreLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t)
		b.topic("orders", 1)
		var records []*kgo.Record
		for i := range 1000 {
			records = append(records, &kgo.Record{
				Topic: "orders", Key: fmt.Append(nil, "order-", i), Value: []byte("secret value"),
				Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("secret header")}},
			})
		}
		records[1].Key = []byte(strings.Repeat("long", 1000))
		b.produceRecords(records...)
		cfg := b.config(consumer.Classic, &refuser{}, "orders")
		cfg.SweepEvery, cfg.FireEvery = -1, -1
		w := start(t, cfg)
		b.awaitCommitted("orders", 0, 1000)
		synctest.Wait() // the log comes after the commit
		if n := len(w.logs.matching("WARN record dead-lettered", "topic=orders")); n != 3 {
			t.Errorf("%d lines about 1000 dead letters, want 3", n)
		}
		if n := len(w.logs.matching("topic=orders", "more_suppressed_for=1m0s")); n != 1 {
			t.Errorf("%d lines say that the next ones are suppressed, want 1", n)
		}
		const want = "group=workers topic=orders partition=0 offset=0 machine=order entity=order-0 event=go verdict=rejected reason=illegal"
		if len(w.logs.matching(want)) != 1 {
			t.Errorf("no line has %q", want)
		}
		if len(w.logs.matching("topic=early partition=3 offset=99", "verdict=diverged")) == 0 {
			t.Error("no line about the released record")
		}
		pass(2 * time.Minute)
		b.produce("orders", 0, "later")
		b.awaitCommitted("orders", 0, 1001)
		w.stop() // a batch is logged after its commit
		if len(w.logs.matching("offset=1000", "suppressed=997")) != 1 {
			t.Error("no line says how many were suppressed")
		}
		for _, line := range w.logs.matching("") {
			if strings.Contains(line, "secret") || len(line) > 1000 {
				t.Errorf("logged: %.200s", line)
			}
		}
	})
}
