package measure

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/pawl-go/pawl/bench/internal/contend"
	"github.com/pawl-go/pawl/bench/internal/traffic"
	"github.com/pawl-go/pawl/internal/banklog"
)

// A workload is a kind of traffic and how to measure it.
type workload struct {
	name, about string
	run         func(ctx context.Context, b *bench) error
}

var workloads = []workload{
	{"new-orders", "new orders with four transitions each", newOrders},
	{"bank-log", "a bank's event log, BPI Challenge 2012", bankLog},
	{"hot-key", "half of all records for 1 % of the entities", hotKey},
	{"payments", "payments whose columns are computed, with five transitions each", payments},
	{"hot-account", "a tenth of all records for one account, whose balance is computed", hotAccount},
	{"replay", "a topic that was already applied: only duplicates", replay},
	{"latency", "time from due to committed, at a fixed rate", latency},
	{"latency-lone", "the same, one record at a time", latencyLone},
	{"outbox", "new orders, each of whose transitions sends a message", outbox},
	{"latency-outbox", "time from committed to acknowledged by Kafka, at a fixed rate", latencyOutbox},
	{"timers", "new orders, each of whose transitions arms a timer; and timers that are due at once", timers},
	{"do", "changes of callers that wait for them: of 256 at a time, and of one", do},
	{"gateway", "HTTP requests with an Idempotency-Key: first ones, repeated ones, and of one client alone", gateway},
	{"migrate", "a backlog, while many old rows are migrated out of a retired state", migrations},
	{"growth", "throughput by number of existing entities", growth},
	{"memory", "a long lag of large records", memory},
}

// Names returns the names of all workloads.
func Names() []string {
	var names []string
	for _, w := range workloads {
		names = append(names, w.name)
	}
	return names
}

// About returns a line about each workload.
func About() string {
	var lines strings.Builder
	for _, w := range workloads {
		fmt.Fprintf(&lines, "\n  %s: %s", w.name, w.about)
	}
	return lines.String()
}

func choose(names []string) (chosen []workload, err error) {
	if len(names) == 0 {
		return workloads, nil
	}
	for _, name := range names {
		found := false
		for _, w := range workloads {
			if w.name == name {
				chosen, found = append(chosen, w), true
			}
		}
		if !found {
			return nil, fmt.Errorf("unknown workload %q; known workloads: %s", name, strings.Join(Names(), ", "))
		}
	}
	return chosen, nil
}

// An input is a topic and what is needed to apply it.
type input struct {
	topic     string
	out       string // the topic of the messages that steps send; empty if they send none
	machine   string
	events    iter.Seq[traffic.Event]
	records   int
	recording string
}

// produce creates and fills a topic.
func (b *bench) produce(ctx context.Context, name, machine string, events iter.Seq[traffic.Event], noteSize int) (input, error) {
	in := input{topic: "bench-" + b.run + "-" + name, machine: machine, events: events}
	var err error
	if in.records, err = b.broker.fill(ctx, in.topic, events, noteSize); err != nil {
		return in, err
	}
	b.Logger.Info("produced", "topic", in.topic, "records", in.records)
	return in, nil
}

// record records what the worker sends to PostgreSQL for a topic.
func (b *bench) record(ctx context.Context, in *input, databaseURL string) error {
	if len(b.wanted([]string{contend.Limit})) == 0 {
		return nil
	}
	in.recording = filepath.Join(b.Dir, in.topic)
	if err := os.MkdirAll(in.recording, 0o750); err != nil {
		return fmt.Errorf("record statements: %w", err)
	}
	_, err := runChild(ctx, b.job("record", contend.Limit, *in, databaseURL).Record(), nil)
	return err
}

// database returns the name of a database of this run.
func (b *bench) database(name string) string {
	return "bench_" + b.run + "_" + strings.ReplaceAll(name, "-", "_")
}

func newOrders(ctx context.Context, b *bench) error {
	in, err := b.produce(ctx, "new-orders", traffic.Order.Name(), traffic.NewOrders(b.run, b.orders), 0)
	if err != nil {
		return err
	}
	return b.throughput(ctx, "new-orders", in, append([]string{contend.PawlOTel}, ordinary...))
}

func hotKey(ctx context.Context, b *bench) error {
	in, err := b.produce(ctx, "hot-key", traffic.Account.Name(), traffic.HotKeys(b.run, b.accounts, b.hotRecords), 0)
	if err != nil {
		return err
	}
	return b.throughput(ctx, "hot-key", in, ordinary)
}

func payments(ctx context.Context, b *bench) error {
	in, err := b.produce(ctx, "payments", traffic.Payment.Name(), traffic.Payments(b.run, b.payments), 0)
	if err != nil {
		return err
	}
	return b.throughput(ctx, "payments", in, computing)
}

func hotAccount(ctx context.Context, b *bench) error {
	in, err := b.produce(ctx, "hot-account", traffic.Wallet.Name(), traffic.HotAccount(b.run, b.accounts, b.hotRecords), 0)
	if err != nil {
		return err
	}
	return b.throughput(ctx, "hot-account", in, computing)
}

func bankLog(ctx context.Context, b *bench) error {
	log, err := banklog.Read(traffic.BankName, b.BankLog)
	if errors.Is(err, fs.ErrNotExist) {
		b.Logger.Warn("skipped: no event log on this machine", "workload", "bank-log", "path", b.BankLog)
		b.results.Skipped["bank-log"] = "no event log at " + b.BankLog
		return nil
	}
	if err != nil {
		return err
	}
	in, err := b.produce(ctx, "bank-log", traffic.BankName, traffic.Bank(log.Head(b.bankCases)), 0)
	if err != nil {
		return err
	}
	return b.throughput(ctx, "bank-log", in, ordinary)
}

// Contenders of workloads whose columns the messages set, and of those whose columns are
// computed.
var (
	ordinary  = contend.Ordinary
	computing = []string{contend.Limit, contend.Pawl, contend.PawlSet, contend.HandBatch, contend.HandSharded, contend.Watermill}
)

// throughput measures contenders on a topic and empty tables.
func (b *bench) throughput(ctx context.Context, name string, in input, contenders []string) error {
	sums := traffic.Columns(in.machine)
	return b.inDatabase(ctx, name, sums, func(url, database string) error {
		if err := b.record(ctx, &in, url); err != nil {
			return err
		}
		defer os.RemoveAll(in.recording) //nolint:errcheck // it is in a temporary directory
		return b.byTurns(contenders, func(_ int, contender string) error {
			if contender != contend.ConsumeOnly {
				if err := b.server.empty(ctx, database, sums); err != nil {
					return err
				}
			}
			result, err := b.measured(ctx, name, b.job(name, contender, in, url), database, true)
			if err != nil {
				return err
			}
			if err := b.server.verifySums(ctx, database, sums, in.events); err != nil {
				return fmt.Errorf("%s: %w", contender, err)
			}
			b.results.AddRate(name, contender, result.Rate())
			return nil
		})
	})
}

// inDatabase creates a database, calls use and drops it.
func (b *bench) inDatabase(ctx context.Context, name string, sums []string, use func(url, database string) error) error {
	database := b.database(name)
	if err := b.server.create(ctx, database, sums); err != nil {
		return err
	}
	return errors.Join(use(b.server.urlOf(database), database), b.server.drop(context.WithoutCancel(ctx), database))
}

// replay measures all contenders on a topic that was already applied.
func replay(ctx context.Context, b *bench) error {
	in, err := b.produce(ctx, "replay", traffic.Order.Name(), traffic.NewOrders(b.run, b.orders), 0)
	if err != nil {
		return err
	}
	return b.inDatabase(ctx, "replay", nil, func(url, database string) error {
		if _, err := runChild(ctx, b.job("replay-seed", contend.Pawl, in, url), nil); err != nil {
			return err
		}
		err := b.server.in(ctx, database, copyHistorySQL, "VACUUM ANALYZE")
		if err != nil {
			return err
		}
		if err := b.record(ctx, &in, url); err != nil {
			return err
		}
		defer os.RemoveAll(in.recording) //nolint:errcheck // it is in a temporary directory
		contenders := []string{contend.Limit, contend.Pawl, contend.PawlDryRun, contend.PawlVerify, contend.HandBatch, contend.HandWritten, contend.HandSharded, contend.Watermill, contend.ConsumeOnly}
		return b.byTurns(contenders, func(_ int, contender string) error {
			result, err := b.measured(ctx, "replay", b.job("replay", contender, in, url), database, false)
			if err == nil {
				b.results.AddRate("replay", contender, result.Rate())
			}
			return err
		})
	})
}

// do measures callers that wait for each of their changes: many that share a pool of
// connections, and one alone.
func do(ctx context.Context, b *bench) error {
	return b.inDatabase(ctx, "do", nil, func(url, database string) error {
		call := func(workload string, callers int) func(int, string) error {
			return func(round int, contender string) error {
				if err := b.server.empty(ctx, database, nil); err != nil {
					return err
				}
				in := input{machine: traffic.Order.Name(), records: b.orders}
				job := b.job(workload, contender, in, url)
				job.Callers, job.Box = callers, b.box
				result, err := b.measured(ctx, workload, job, database, true)
				if err == nil {
					b.results.AddRate(workload, contender, result.Rate())
				}
				return err
			}
		}
		return errors.Join(
			b.byTurns([]string{contend.Pawl, contend.HandSharded}, call("do", crowd)),
			b.byTurns([]string{contend.Pawl, contend.HandWritten}, call("do-alone", 1)))
	})
}

// memory measures a worker that catches up with a long lag of records of 4 KiB.
func memory(ctx context.Context, b *bench) error {
	const noteSize = 4 << 10
	in, err := b.produce(ctx, "memory", traffic.Order.Name(), traffic.NewOrders(b.run, b.bigOrders), noteSize)
	if err != nil {
		return err
	}
	return b.inDatabase(ctx, "memory", nil, func(url, database string) error {
		return b.byTurns([]string{contend.Pawl}, func(_ int, contender string) error {
			if err := b.server.empty(ctx, database, nil); err != nil {
				return err
			}
			_, err := b.measured(ctx, "memory", b.job("memory", contender, in, url), database, true)
			return err
		})
	})
}
