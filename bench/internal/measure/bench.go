package measure

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pawl-go/pawl/bench/internal/contend"
	"github.com/pawl-go/pawl/bench/internal/report"
)

// A bench is one run of the benchmarks.
type bench struct {
	Options
	sizes

	run      string // makes its names unique among runs
	server   *server
	broker   *broker
	results  *report.Results
	children int
}

// Run measures the workloads one after another. For each workload it alternates
// between the contenders.
func Run(ctx context.Context, o Options) (results *report.Results, err error) {
	chosen, err := choose(o.Workloads)
	if err != nil {
		return nil, err
	}
	b := &bench{Options: o, sizes: o.sizes(), run: strconv.FormatInt(time.Now().Unix(), 36), results: report.NewResults()}
	b.results.Quick, b.results.Rounds = o.Quick, o.Rounds
	// Remove databases and topics even if the run was interrupted.
	clean := context.WithoutCancel(ctx)
	if b.server, err = openServer(ctx, o.DatabaseURL); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.server.close(clean)) }()
	if b.broker, err = openBroker(ctx, o.Brokers); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.broker.close(clean)) }()
	for _, w := range chosen {
		b.Logger.Info("workload", "name", w.name, "about", w.about)
		if err := w.run(ctx, b); err != nil {
			return nil, fmt.Errorf("workload %s: %w", w.name, err)
		}
	}
	return b.results, nil
}

// byTurns runs each contender once per round, and rotates their order from
// round to round.
func (b *bench) byTurns(contenders []string, turn func(round int, contender string) error) error {
	contenders = b.wanted(contenders)
	for round := range b.Rounds {
		for i := range contenders {
			contender := contenders[(i+round)%len(contenders)]
			if err := turn(round, contender); err != nil {
				return fmt.Errorf("round %d: %w", round+1, err)
			}
		}
	}
	return nil
}

func (b *bench) wanted(contenders []string) []string {
	if len(b.Contenders) == 0 {
		return contenders
	}
	return slices.DeleteFunc(slices.Clone(contenders), func(c string) bool { return !slices.Contains(b.Contenders, c) })
}

// job returns a contender's job, with a new consumer group.
func (b *bench) job(workload, contender string, in input, databaseURL string) contend.Job {
	b.children++
	group := fmt.Sprintf("bench-%s-%d", b.run, b.children)
	if in.topic != "" {
		b.broker.groups = append(b.broker.groups, group)
	}
	job := contend.Job{
		Contender: contender, Brokers: b.Brokers, DatabaseURL: databaseURL, BankLog: b.BankLog,
		Topic: in.topic, Out: in.out, Machine: in.machine, Records: in.records, Group: group, Recording: in.recording,
	}
	if slices.Contains([]string{contend.HandWritten, contend.HandSharded, contend.HandOutbox, contend.Watermill}, contender) {
		job.Box = b.box
	}
	if b.Profiles != "" && (contender == contend.Pawl || contender == contend.PawlSet) {
		job.Profile = filepath.Join(b.Profiles, fmt.Sprintf("%s-%s-%d.pprof", workload, contender, b.children))
	}
	return job
}

// measured runs a contender on a database and records its measurements. It must
// have added all its steps to the table if fresh is true, and none if it only
// read duplicates.
func (b *bench) measured(ctx context.Context, workload string, job contend.Job, database string, fresh bool) (contend.Result, error) {
	before, err := b.server.steps(ctx, database)
	if err != nil {
		return contend.Result{}, err
	}
	if err := b.server.exec(ctx, "CHECKPOINT"); err != nil {
		return contend.Result{}, err
	}
	stop := b.sample(ctx, workload, job)
	result, err := runChild(ctx, job, nil)
	stop()
	if err != nil {
		return result, err
	}
	after, err := b.server.steps(ctx, database)
	if err != nil {
		return result, err
	}
	if err := check(job, result, after-before, fresh); err != nil {
		return result, err
	}
	b.note(workload, job.Contender, result)
	return result, nil
}

func (b *bench) note(workload, contender string, r contend.Result) {
	b.results.AddUse(workload, contender, r.RSSMiB, r.CPU/float64(r.Records)*1e6)
	b.Logger.Info("ran", "workload", workload, "contender", contender, "records", r.Records,
		"seconds", seconds(r.Seconds), "rate", int(r.Rate()), "rss_mib", int(r.RSSMiB),
		"cpu_us_per_record", fmt.Sprintf("%.1f", r.CPU/float64(r.Records)*1e6), "verdicts", verdicts(r.Verdicts),
		"decode_s", seconds(r.Steps.Decode), "apply_s", seconds(r.Steps.Apply))
}

func seconds(s float64) string { return strconv.FormatFloat(s, 'f', 2, 64) }

func verdicts(all map[string]int) string {
	var words []string
	for verdict, n := range all {
		words = append(words, fmt.Sprintf("%s=%d", verdict, n))
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

// check compares a contender's result with its table. A contender that ran into
// its time limit may have had one uncounted transaction per connection.
func check(job contend.Job, r contend.Result, steps int, fresh bool) error {
	least, most := r.Records, r.Records
	switch {
	case job.Contender == contend.ConsumeOnly || job.Contender == contend.AnswerOnly || !fresh:
		least, most = 0, 0
	case job.Contender == contend.HandOutbox:
		most = steps // it counts messages that were acknowledged; its loop is ahead of its relay
	case job.HTTP == contend.Repeated:
		least, most = contend.Kept, contend.Kept
	case job.Callers > 0:
		most += job.Callers
	case job.Box > 0:
		most += contend.Partitions
	}
	if steps < least || steps > most {
		return fmt.Errorf("%s reported %d settled records, but its rows have %d steps", job.Contender, r.Records, steps)
	}
	return nil
}
