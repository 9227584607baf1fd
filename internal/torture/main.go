package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/pawl-go/pawl/consumer"
)

type config struct {
	duration   time.Duration // of the faults
	rate       int           // records per second
	workers    int
	partitions int
	seed       uint64
	protocol   consumer.Protocol
	session    time.Duration // the group's session timeout
	scripts    string
	verbose    bool
}

func main() {
	if description, ok := os.LookupEnv(jobVariable); ok {
		if err := work(description); err != nil {
			fmt.Fprintln(os.Stderr, "torture worker:", err)
			os.Exit(1)
		}
		return
	}
	cfg, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		os.Exit(2)
	}
	ok, err := run(cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
	}
	if !ok || err != nil {
		os.Exit(1)
	}
}

func parse(args []string) (cfg config, err error) {
	flags := flag.NewFlagSet("torture", flag.ContinueOnError)
	flags.DurationVar(&cfg.duration, "duration", time.Minute, "duration of the faults")
	flags.IntVar(&cfg.rate, "rate", 1000, "records produced per second, as long as the workers keep up")
	flags.IntVar(&cfg.workers, "workers", 2, "worker processes per tenant; there are two tenants")
	flags.IntVar(&cfg.partitions, "partitions", 8, "partitions per topic")
	flags.Uint64Var(&cfg.seed, "seed", uint64(time.Now().UnixNano()), "seed of the traffic; the faults are always random")
	flags.StringVar(&cfg.scripts, "scripts", ".ci", "directory of the scripts that start Kafka and PostgreSQL")
	flags.BoolVar(&cfg.verbose, "v", false, "log each fault")
	protocol := flags.String("protocol", "classic", "group protocol: classic, or consumer (KIP-848)")
	if err := flags.Parse(args); err != nil {
		return cfg, err //nolint:wrapcheck // flags already printed it
	}
	switch *protocol {
	case "classic":
		cfg.session = 3 * time.Second
	case "consumer":
		cfg.protocol, cfg.session = consumer.Consumer, 10*time.Second // as configured for the broker in .ci/kafka
	default:
		return cfg, fmt.Errorf("unknown protocol %q; use classic or consumer", *protocol)
	}
	if cfg.workers < 1 || cfg.partitions < 1 || cfg.rate < 1 || cfg.duration <= 0 {
		return cfg, errors.New("workers, partitions, rate and duration must be positive")
	}
	if cfg.scripts, err = filepath.Abs(cfg.scripts); err != nil {
		return cfg, fmt.Errorf("scripts: %w", err)
	}
	if _, err := os.Stat(filepath.Join(cfg.scripts, "kafka")); err != nil {
		return cfg, fmt.Errorf("find the scripts: %w; run torture in the repository's root, or set -scripts", err)
	}
	return cfg, nil
}

// run starts the servers in a new directory and stops them. It keeps the
// directory, for the logs, if there was a violation.
func run(cfg config) (ok bool, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxiproxy's toxics use the global logger
	level := slog.LevelWarn
	if cfg.verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	dir, err := os.MkdirTemp("", "pawl-torture-")
	if err != nil {
		return false, fmt.Errorf("create a working directory: %w", err)
	}
	defer func() {
		if ok && err == nil {
			err = os.RemoveAll(dir)
		} else {
			fmt.Fprintln(os.Stderr, "torture: logs are in", dir)
		}
	}()
	if err := os.Chmod(dir, 0o755); err != nil {
		return false, fmt.Errorf("create a working directory: %w", err)
	}
	t := &torture{cfg: cfg, dir: dir, log: log}
	for _, name := range tenants {
		t.tenancies = append(t.tenancies, &tenancy{tenant: name, book: newLedger(), progress: newProgress(log.With("tenant", string(name)))})
	}
	defer func() { err = errors.Join(err, t.close()) }()
	if err := t.open(ctx); err != nil {
		return false, err
	}
	return t.play(ctx)
}
