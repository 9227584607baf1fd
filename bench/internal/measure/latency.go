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
