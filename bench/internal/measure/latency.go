package measure

import (
	"context"
	"fmt"

	"github.com/pawl-go/pawl/bench/internal/contend"
	"github.com/pawl-go/pawl/bench/internal/traffic"
)

// steadyRate is the rate at which latency is measured, in records a second. The
// hand-written loop on one connection, which could not keep up with it, gets a
// tenth.
const steadyRate = 2000

// latency sends new orders at a fixed rate, and has the contender tell how long
// it was from when each record was due to when its transaction had committed. A
// producer that falls behind counts: what is due is not put off.
func latency(ctx context.Context, b *bench) error {
	contenders := []string{contend.Pawl, contend.HandWritten, contend.HandSharded}
	return b.inDatabase(ctx, "latency", func(url, database string) error {
		return b.byTurns(contenders, func(round int, contender string) error {
			if err := b.server.empty(ctx, database); err != nil {
				return err
			}
			rate := steadyRate
			if contender == contend.HandWritten {
				rate /= 10
			}
			return b.steadily(ctx, fmt.Sprintf("latency-%s-%d", contender, round), contender, rate, url)
		})
	})
}

func (b *bench) steadily(ctx context.Context, name, contender string, rate int, url string) error {
	in := input{
		topic: "bench-" + b.run + "-" + name, machine: traffic.Order.Name(),
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
	job := b.job("latency", contender, in, url)
	job.Box, job.Warmup = 0, b.warmup
	result, err := runChild(ctx, job, func() error { return b.broker.send(ctx, in.topic, events, rate) })
	if err != nil {
		return err
	}
	b.note("latency", contender, result)
	b.results.AddLatency(contender, rate, result.Latencies)
	return b.broker.remove(ctx, in.topic)
}
