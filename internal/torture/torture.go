package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// stopWithin is how long a worker may take to stop: its grace period of 10
	// s, plus the time to leave the group.
	stopWithin = 30 * time.Second

	// settleWithin is how long it may take to settle everything after the last
	// fault.
	settleWithin = 90 * time.Second

	// tooLong is how long a partition may make no progress. All outages are
	// much shorter.
	tooLong = time.Minute
)

// A torture is one run.
type torture struct {
	cfg      config
	dir      string
	log      *slog.Logger
	database *database
	kafka    *server
	provider *provider
	rescuer  rescuer
	crew     []*member

	tenancies []*tenancy

	mu       sync.Mutex
	failures []error // of workers
}

// violation records that a worker has failed.
func (t *torture) violation(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures = append(t.failures, err)
	t.log.Error("violation", "err", err)
}

// open starts the servers and the workers.
func (t *torture) open(ctx context.Context) error {
	var err error
	if t.provider, err = startProvider(ctx); err != nil {
		return err
	}
	t.rescuer.dead = make(map[string]time.Time)
	if t.database, err = startDatabase(ctx); err != nil {
		return err
	}
	t.kafka = newKafka(t.cfg.scripts, t.dir)
	if err := t.kafka.start(); err != nil {
		return err
	}
	if err := makeTopics(ctx, t.kafka.address, t.cfg.partitions); err != nil {
		return err
	}
	links := newNetwork()
	for _, tenancy := range t.tenancies {
		for i := range t.cfg.workers {
			m, err := links.member(fmt.Sprintf("worker-%s%d", tenancy.tenant, i+1), t.dir, t.database, t.kafka)
			if err != nil {
				return err
			}
			m.job.Tenant, m.job.Protocol, m.job.SessionTimeout = tenancy.tenant, t.cfg.protocol, t.cfg.session
			m.job.ProviderURL = t.provider.url
			m.progress, m.exited, m.ended = tenancy.progress, t.violation, t.rescuer.ended
			if err := m.start(); err != nil {
				return err
			}
			t.crew = append(t.crew, m)
		}
	}
	return nil
}

// close kills all remaining processes.
func (t *torture) close() error {
	for _, m := range t.crew {
		select {
		case <-m.process.ended:
		default:
			m.kill()
		}
		_ = m.log.Close()
	}
	var err error
	if t.provider != nil {
		err = t.provider.close()
	}
	if t.kafka != nil {
		err = errors.Join(err, t.kafka.stop())
	}
	if t.database != nil {
		err = errors.Join(err, t.database.close())
	}
	return err
}

// play runs the faults while records are produced, waits until everything is
// settled, and checks the result.
func (t *torture) play(ctx context.Context) (ok bool, err error) {
	began, faults := time.Now(), t.faults()
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	for _, tenancy := range t.tenancies {
		go tenancy.progress.watch(watching)
	}
	go t.rescue(watching)
	stopForeign := t.startForeign(ctx)
	defer stopForeign()
	if err := t.produceUnderFaults(ctx, faults); err != nil {
		return false, err
	}
	if ctx.Err() != nil {
		return false, fmt.Errorf("stopped: %w", ctx.Err())
	}
	last := time.Now()
	t.rescuer.calmed()
	stuck, err := t.settle(ctx)
	if err != nil {
		return false, err
	}
	s := summary{Stuck: stuck, SettledIn: inSeconds(time.Since(last))}
	t.stopWorkers()
	stopForeign()
	sent, err := readAnnounced(ctx, t.kafka.address)
	if err != nil {
		return false, err
	}
	var violations []string
	for _, tenancy := range t.tenancies {
		more, err := tenancy.judge(ctx, t.database, t.provider, sent, &s)
		if err != nil {
			return false, err
		}
		violations = append(violations, more...)
	}
	for _, failure := range t.failures {
		violations = append(violations, failure.Error())
	}
	if s.Paused > 0.9*t.cfg.duration.Seconds()*float64(len(t.tenancies)) {
		violations = append(violations, fmt.Sprintf("the producers paused for %v, so there was little traffic; use a lower -rate", seconds1(s.Paused)))
	}
	s.Seconds, s.WorkerFailures = inSeconds(time.Since(began)), len(t.failures)
	s.count(faults)
	if s.Failovers+s.Restores == 0 && s.Outputs.Phantoms > 0 {
		violations = append(violations, fmt.Sprintf("%d messages are of steps that do not exist, although the database has lost none", s.Outputs.Phantoms))
	}
	s.OK = len(violations) == 0 && stuck == 0
	return s.OK, s.print(os.Stdout, faults, violations)
}

// judge adds a tenant's results to the summary and returns the violations.
func (t *tenancy) judge(ctx context.Context, d *database, p *provider, sent []sentMessage, s *summary) (violations []string, err error) {
	e, err := t.gather(ctx, d.url(""))
	if err != nil {
		return nil, err
	}
	e.sent, e.losses, e.isTransactional = t.sentBy(sent), d.losses, t.isTransactional()
	e.bills.accountsOf = p.book(t.tenant)
	j := judge(t.book, e)
	violations = append(t.book.gaps(), j.messages...)
	for _, err := range t.book.lost {
		violations = append(violations, err.Error())
	}
	if p := t.progress; p.longest > tooLong {
		violations = append(violations, fmt.Sprintf("partition %d made no progress for %v, more than %v", p.where, p.longest.Round(time.Millisecond), tooLong))
	}
	for i := range violations {
		violations[i] = fmt.Sprintf("tenant %s: %s", t.tenant, violations[i])
	}
	s.Records += len(t.book.entries)
	s.Redelivered += max(0, t.progress.records-len(t.book.entries))
	s.LongestStall = max(s.LongestStall, inSeconds(t.progress.longest))
	s.Paused += inSeconds(t.progress.paused)
	s.Transfers.add(&j.tally)
	s.Outputs.add(&j.outputs)
	s.Once.add(&j.once)
	s.Charges.add(&j.charges)
	s.Lost, s.AppliedTwice, s.Wrong = s.Lost+j.lost, s.AppliedTwice+j.twice, s.Wrong+j.wrong
	return violations, nil
}

// produceUnderFaults produces records while the faults run. It returns once all faults are
// undone and the broker has acknowledged the records.
func (t *torture) produceUnderFaults(ctx context.Context, faults []*fault) error {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.duration)
	defer cancel()
	produced := make(chan error, len(t.tenancies))
	for _, tenancy := range t.tenancies { // same seed, so the keys and message IDs are the same
		traffic := newTraffic(t.cfg.seed, t.cfg.partitions, tenancy.book)
		go func() {
			produced <- produce(ctx, t.kafka.address, tenancy.topic(), traffic, t.cfg.rate/len(t.tenancies), tenancy.progress)
		}()
	}
	err := t.runFaults(ctx, faults)
	cancel()
	for range t.tenancies {
		err = errors.Join(err, <-produced)
	}
	return err
}

// settle waits until everything is settled, and returns the number of records
// that are not.
func (t *torture) settle(ctx context.Context) (stuck int, err error) {
	for deadline := time.Now().Add(settleWithin); ; {
		stuck, err = 0, nil
		for _, tenancy := range t.tenancies {
			more, failed := t.unsettled(ctx, tenancy)
			stuck, err = stuck+more, errors.Join(err, failed)
		}
		if stuck == 0 && err == nil || ctx.Err() != nil {
			return stuck, err
		}
		if time.Now().After(deadline) {
			t.log.Error("some records are not settled", "records", stuck, "err", err)
			return max(stuck, 1), nil
		}
		sleep(ctx, 200*time.Millisecond)
	}
}

// unsettled returns the number of records that are not committed, are not
// marked in the database (which then has lost them), or are parked but should
// not be, and of tickets that have not expired, messages that were not sent and jobs that have
// not ended.
func (t *torture) unsettled(ctx context.Context, of *tenancy) (int, error) {
	stuck, err := lag(ctx, t.kafka.address, of.group(), of.topic())
	if err != nil {
		return 0, err
	}
	conn, err := pgx.Connect(ctx, t.database.url(""))
	if err != nil {
		return 0, fmt.Errorf("read the parked records: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }() // closing releases everything it holds
	var waiting, marked, caused int
	const query = `SELECT (SELECT count(*) FROM pawl.parked AS p
		WHERE p.machine <> 'wallet' OR p.seen_version <> (SELECT w.version FROM torture.wallets AS w WHERE w.id = p.entity)), (SELECT coalesce(sum("offset"), 0) FROM pawl.marks),
		(SELECT count(*) FROM torture.tickets WHERE state <> 'ended') + (SELECT count(*) FROM pawl.outbox) +
		(SELECT count(*) FROM river.river_job WHERE state NOT IN ('completed', 'cancelled', 'discarded'))`
	if err := conn.QueryRow(ctx, of.sql(query)).Scan(&waiting, &marked, &caused); err != nil {
		return 0, fmt.Errorf("read the parked records, the marks, the tickets, the outbox and the jobs: %w", err)
	}
	return max(stuck, len(of.book.entries)-marked) + max(0, waiting-of.book.parked()) + caused, nil
}

// stopWorkers stops all workers at once. Each must exit cleanly.
func (t *torture) stopWorkers() {
	var all sync.WaitGroup
	for _, m := range t.crew {
		all.Go(func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			if err := m.stop(stopWithin); err != nil {
				t.violation(err)
			}
		})
	}
	all.Wait()
}
