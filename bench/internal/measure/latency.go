package measure

import (
	"context"
	"fmt"

	"github.com/pawl-go/pawl/bench/internal/contend"
	"github.com/pawl-go/pawl/bench/internal/traffic"
)

// steadyRate is the rate for the latency workload, in records per second. The
// hand-written loop with one connection cannot keep up with it and gets a
// tenth.
const steadyRate = 2000

// latency sends new orders at a fixed rate. The contender reports, for each
// record, the time from when it was due until its transaction committed. If the
// producer falls behind, that counts: due times do not move.
func latency(ctx context.Context, b *bench) error {
	contenders := []string{contend.Pawl, contend.HandBatch, contend.HandWritten, contend.HandSharded}
	return b.inDatabase(ctx, "latency", nil, func(url, database string) error {
		return b.byTurns(contenders, func(round int, contender string) error {
			if err := b.server.empty(ctx, database, nil); err != nil {
				return err
			}
			rate := steadyRate
			if contender == contend.HandWritten {
				rate /= 10
			}
			return b.steadily(ctx, "latency", fmt.Sprintf("%s-%d", contender, round), contender, rate, url, "")
		})
	})
}

// loneRate is the rate at which each record is alone: it is committed long before the next is due.
const loneRate = 50

// latencyLone is latency with one record at a time, beside the least that a loop can do.
func latencyLone(ctx context.Context, b *bench) error {
	return b.inDatabase(ctx, "latency-lone", nil, func(url, database string) error {
		return b.byTurns([]string{contend.Pawl, contend.Autocommit}, func(round int, contender string) error {
			if err := b.server.empty(ctx, database, nil); err != nil {
				return err
			}
			return b.steadily(ctx, "latency-lone", fmt.Sprintf("%s-%d", contender, round), contender, loneRate, url, "")
		})
	})
}

// latencyOutbox sends new orders at a fixed rate. The contender reports, for the message that
// each step sends, the time from when the step was committed until Kafka has acknowledged the
// message.
func latencyOutbox(ctx context.Context, b *bench) error {
	return b.inDatabase(ctx, "latency-outbox", nil, func(url, database string) error {
		return b.byTurns([]string{contend.Pawl, contend.HandOutbox}, func(round int, contender string) error {
			if err := b.server.empty(ctx, database, nil); err != nil {
				return err
			}
			rate := steadyRate
			if contender == contend.HandOutbox {
				rate /= 10
			}
			name := fmt.Sprintf("%s-%d", contender, round)
			out := "bench-" + b.run + "-announced-" + name
			if err := b.broker.create(ctx, out); err != nil {
				return err
			}
			return b.steadily(ctx, "latency-outbox", name, contender, rate, url, out)
		})
	})
}

func (b *bench) steadily(ctx context.Context, workload, name, contender string, rate int, url, out string) error {
	in := input{
		topic: "bench-" + b.run + "-" + workload + "-" + name, out: out, machine: traffic.Order.Name(),
		records: int(float64(rate) * (b.warmup + b.steady).Seconds()),
	}
	if err := b.broker.create(ctx, in.topic); err != nil {
		return err
	}
	if err := b.server.exec(ctx, "CHECKPOINT"); err != nil {
		return err
	}
	events := traffic.NewOrders(b.run, in.records/4)
	in.records = in.records / 4 * 4
	job := b.job(workload, contender, in, url)
	job.Box, job.Warmup = 0, b.warmup
	result, err := runChild(ctx, job, func() error { return b.broker.send(ctx, in.topic, events, rate) })
	if err != nil {
		return err
	}
	b.note(workload, contender, result)
	b.results.AddLatency(workload, contender, rate, result.Latencies)
	return b.broker.remove(ctx, in.topic)
}
