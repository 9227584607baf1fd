package measure

import (
	"context"
	"fmt"

	"github.com/pawl-go/pawl/bench/internal/contend"
	"github.com/pawl-go/pawl/bench/internal/traffic"
)

// outbox measures new orders whose transitions send a message each. A record is settled when
// its message is acknowledged; for the contender without messages, when it is applied.
func outbox(ctx context.Context, b *bench) error {
	in, err := b.produce(ctx, "outbox", traffic.Order.Name(), traffic.NewOrders(b.run, b.orders), 0)
	if err != nil {
		return err
	}
	return b.inDatabase(ctx, "outbox", nil, func(url, database string) error {
		contenders := []string{contend.Pawl, contend.WithoutMessages, contend.HandOutbox}
		return b.byTurns(contenders, func(round int, contender string) error {
			if err := b.server.empty(ctx, database, nil); err != nil {
				return err
			}
			turn := in
			turn.out = fmt.Sprintf("bench-%s-announced-%s-%d", b.run, contender, round)
			if err := b.broker.create(ctx, turn.out); err != nil {
				return err
			}
			result, err := b.measured(ctx, "outbox", b.job("outbox", contender, turn, url), database, true)
			if err != nil {
				return err
			}
			b.results.AddRate("outbox", contender, result.Rate())
			return b.broker.remove(ctx, turn.out)
		})
	})
}

// timers measures what it costs to arm a timer in each transition, and how fast timers are
// applied that are all due at once, compared with records that do the same.
func timers(ctx context.Context, b *bench) error {
	in, err := b.produce(ctx, "timers", traffic.Expiring.Name(), traffic.NewOrders(b.run, b.orders), 0)
	if err != nil {
		return err
	}
	err = b.inDatabase(ctx, "timers", nil, func(url, database string) error {
		return b.byTurns([]string{contend.Pawl, contend.WithoutTimers}, func(_ int, contender string) error {
			if err := b.server.empty(ctx, database, nil); err != nil {
				return err
			}
			turn := in
			if contender == contend.WithoutTimers {
				turn.machine = traffic.Order.Name()
			}
			result, err := b.measured(ctx, "timers", b.job("timers", contender, turn, url), database, true)
			if err == nil {
				b.results.AddRate("timers", contender, result.Rate())
			}
			return err
		})
	})
	if err != nil {
		return err
	}
	return b.timersDue(ctx)
}

// timersDue lets the timers of many entities be due at once.
func (b *bench) timersDue(ctx context.Context) error {
	placed, err := b.produce(ctx, "timers-placed", traffic.Expiring.Name(), traffic.Placed(b.run, b.due), 0)
	if err != nil {
		return err
	}
	expired, err := b.produce(ctx, "timers-expired", traffic.Expiring.Name(), traffic.Expired(b.run, b.due), 0)
	if err != nil {
		return err
	}
	nothing := "bench-" + b.run + "-nothing"
	if err := b.broker.create(ctx, nothing); err != nil {
		return err
	}
	return b.inDatabase(ctx, "timers-due", nil, func(url, database string) error {
		return b.byTurns([]string{contend.Pawl, contend.Records}, func(_ int, contender string) error {
			if err := b.server.empty(ctx, database, nil); err != nil {
				return err
			}
			if _, err := runChild(ctx, b.job("timers-due", contend.Pawl, placed, url), nil); err != nil {
				return err
			}
			turn := expired
			if contender == contend.Pawl {
				turn.topic = nothing
				err = b.server.in(ctx, database, "VACUUM ANALYZE", "UPDATE pawl.timers SET due = now(), dues = NULL", "VACUUM pawl.timers")
			} else {
				err = b.server.in(ctx, database, "VACUUM ANALYZE", "TRUNCATE pawl.timers")
			}
			if err != nil {
				return err
			}
			job := b.job("timers-due", contender, turn, url)
			job.Timers = contender == contend.Pawl
			result, err := b.measured(ctx, "timers-due", job, database, true)
			if err == nil {
				b.results.AddRate("timers-due", contender, result.Rate())
			}
			return err
		})
	})
}
