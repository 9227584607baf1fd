package measure

import (
	"context"
	"errors"
	"math"
	"os/exec"
	"slices"

	"github.com/pawl-go/pawl/bench/internal/contend"
	"github.com/pawl-go/pawl/bench/internal/traffic"
)

// Clients of the workload gateway. With more than repeating, repeats only wait for each other.
const (
	crowd     = 256
	repeating = 64
)

// withoutRedis returns those of the contenders that do not need Redis.
func withoutRedis(contenders []string) []string {
	return slices.DeleteFunc(slices.Clone(contenders), func(c string) bool { return slices.Contains(contend.WithRedis, c) })
}

// gateway measures HTTP requests with an Idempotency-Key: first ones of many clients,
// repeated ones, and first ones of a client that is alone. Server and clients share a process.
func gateway(ctx context.Context, b *bench) error {
	usable := slices.Clone[[]string]
	if _, err := exec.LookPath("redis-server"); err != nil {
		b.Logger.Warn("skipped: no redis-server on this machine", "workload", "gateway", "contenders", contend.WithRedis)
		b.results.Skipped["gateway with Redis"] = "no redis-server"
		usable = withoutRedis
	}
	return b.inDatabase(ctx, "gateway", nil, func(url, database string) error {
		request := func(workload string, job contend.Job, add func(contender string, r contend.Result)) func(int, string) error {
			return func(_ int, contender string) error {
				if err := b.server.empty(ctx, database, nil); err != nil {
					return err
				}
				turn := b.job(workload, contender, input{machine: traffic.Order.Name(), records: job.Records}, url)
				turn.HTTP, turn.Callers, turn.Box, turn.Warmup = job.HTTP, job.Callers, job.Box, job.Warmup
				run := func(redis string) error {
					turn.Redis = redis
					result, err := b.measured(ctx, workload, turn, database, true)
					if err == nil {
						add(contender, result)
					}
					return err
				}
				if slices.Contains(contend.WithRedis, contender) {
					return withRedis(ctx, run)
				}
				return run("")
			}
		}
		rate := func(workload string) func(string, contend.Result) {
			return func(contender string, r contend.Result) { b.results.AddRate(workload, contender, r.Rate()) }
		}
		first := contend.Job{HTTP: contend.First, Callers: crowd, Records: b.orders, Box: b.box}
		repeated := contend.Job{HTTP: contend.Repeated, Callers: repeating, Records: math.MaxInt, Box: b.box}
		alone := contend.Job{HTTP: contend.First, Callers: 1, Records: b.orders, Box: b.warmup/2 + 2*b.box, Warmup: b.warmup / 2}
		return errors.Join(
			b.byTurns(usable(contend.FirstRequests), request("gateway-first", first, rate("gateway-first"))),
			b.byTurns(usable(contend.RepeatedRequests), request("gateway-repeated", repeated, rate("gateway-repeated"))),
			b.byTurns(usable(contend.LoneRequests), request("gateway-alone", alone, func(contender string, r contend.Result) {
				b.results.AddLatency("gateway-alone", contender, int(r.Rate()), r.Latencies)
			})))
	})
}
