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
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// stopWithin is how long a worker may take to stop: its grace of 10 s, and the
	// time in which it leaves its group.
	stopWithin = 30 * time.Second

	// settleWithin is how long it may take after the last fault until all is
	// settled.
	settleWithin = 90 * time.Second

	// tooLong is how long a partition may not get on, whatever goes wrong: the
	// outages are far shorter.
	tooLong = time.Minute
)

// A torture is one run.
type torture struct {
	cfg      config
	dir      string
	log      *slog.Logger
	database *database
	kafka    *server
	crew     []*member
	progress *progress

	mu       sync.Mutex
	failures []error // of workers
}

// violation notes that a worker has failed.
func (t *torture) violation(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures = append(t.failures, err)
	t.log.Error("violation", "err", err)
}

// open starts the servers and the workers.
func (t *torture) open(ctx context.Context) error {
	var err error
	if t.database, err = startDatabase(ctx); err != nil {
		return err
	}
	t.kafka = newKafka(t.cfg.scripts, t.dir)
	if err := t.kafka.start(); err != nil {
		return err
	}
	if err := makeTopic(ctx, t.kafka.address, t.cfg.partitions); err != nil {
		return err
	}
	links := newNetwork()
	for i := range t.cfg.workers {
		m, err := links.member(fmt.Sprintf("worker-%d", i+1), t.dir, t.database, t.kafka)
		if err != nil {
			return err
		}
		m.job.Protocol, m.job.SessionTimeout = t.cfg.protocol, t.cfg.session
		m.progress, m.exited = t.progress, t.violation
		if err := m.start(); err != nil {
			return err
		}
		t.crew = append(t.crew, m)
	}
	return nil
}

// close ends all processes that are left.
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
	if t.kafka != nil {
		err = t.kafka.stop()
	}
	if t.database != nil {
		err = errors.Join(err, t.database.close())
	}
	return err
}

// play lets things go wrong while records are produced, waits until all is
// settled, and judges what is left.
func (t *torture) play(ctx context.Context) (ok bool, err error) {
	began := time.Now()
	book, faults := newLedger(), t.faults()
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	go t.progress.watch(watching)

	if err := t.trouble(ctx, newTraffic(t.cfg.seed, t.cfg.partitions, book), faults); err != nil {
		return false, err
	}
	if ctx.Err() != nil {
		return false, fmt.Errorf("stopped: %w", ctx.Err())
	}
	last := time.Now()
	stuck, err := t.settle(ctx, book)
	if err != nil {
		return false, err
	}
	s := summary{Records: len(book.entries), Stuck: stuck, SettledIn: inSeconds(time.Since(last))}
	t.dismiss()
	e, err := gather(ctx, t.database.url(""))
	if err != nil {
		return false, err
	}
	j := judge(book, e)
	told := append(append(book.gaps(), j.told...), t.stalls()...)
	for _, failure := range t.failures {
		told = append(told, failure.Error())
	}
	for _, err := range book.lost {
		told = append(told, err.Error())
	}
	s.Seconds, s.LongestStall = inSeconds(time.Since(began)), inSeconds(t.progress.longest)
	s.Lost, s.AppliedTwice, s.Wrong, s.WorkerFailures = j.lost, j.twice, j.wrong, len(t.failures)
	s.Redelivered = max(0, t.progress.records-s.Records)
	s.count(faults)
	s.OK = len(told) == 0 && stuck == 0
	return s.OK, s.print(os.Stdout, faults, told)
}

func (t *torture) stalls() []string {
	if t.progress.longest <= tooLong {
		return nil
	}
	return []string{fmt.Sprintf("partition %d did not get on for %v, more than %v", t.progress.where, t.progress.longest.Round(time.Millisecond), tooLong)}
}

// trouble produces records while the faults happen, and returns once they are all
// mended and the broker has acknowledged the records.
func (t *torture) trouble(ctx context.Context, traffic *traffic, faults []*fault) error {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.duration)
	defer cancel()
	produced := make(chan error, 1)
	go func() { produced <- produce(ctx, t.kafka.address, traffic, t.cfg.rate, t.progress) }()
	err := t.torment(ctx, faults)
	cancel()
	return errors.Join(err, <-produced)
}

// settle waits until all is settled, and returns how many records are not.
func (t *torture) settle(ctx context.Context, book *ledger) (stuck int, err error) {
	for deadline := time.Now().Add(settleWithin); ; {
		stuck, err = t.unsettled(ctx, book)
		if stuck == 0 && err == nil || ctx.Err() != nil {
			return stuck, err
		}
		if time.Now().After(deadline) {
			t.log.Error("not all is settled", "records", stuck, "err", err)
			return max(stuck, 1), nil
		}
		sleep(ctx, 200*time.Millisecond)
	}
}

// unsettled returns how many records are not committed, not marked in the database
// (which has lost them then), or parked beyond those that have to be.
func (t *torture) unsettled(ctx context.Context, book *ledger) (int, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(t.kafka.address))
	if err != nil {
		return 0, fmt.Errorf("look at the group: %w", err)
	}
	defer client.Close()
	lag, err := kadm.NewClient(client).Lag(ctx, group)
	if err == nil {
		err = lag.Error()
	}
	if err != nil {
		return 0, fmt.Errorf("look at the group: %w", err)
	}
	stuck := int(lag[group].Lag.Total())

	conn, err := pgx.Connect(ctx, t.database.url(""))
	if err != nil {
		return 0, fmt.Errorf("look at the parked records: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }() // whatever it holds goes with it
	var waiting, marked int
	const query = `SELECT (SELECT count(*) FROM pawl.parked), (SELECT coalesce(sum("offset"), 0) FROM pawl.marks)`
	if err := conn.QueryRow(ctx, query).Scan(&waiting, &marked); err != nil {
		return 0, fmt.Errorf("look at the parked records and the marks: %w", err)
	}
	return max(stuck, len(book.entries)-marked) + max(0, waiting-book.parked()), nil
}

// dismiss stops the workers: each has to end well, at once.
func (t *torture) dismiss() {
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
