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
	rate       int           // records a second
	workers    int
	partitions int
	seed       uint64
	protocol   consumer.Protocol
	session    time.Duration // after which the group gives up on a worker
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
	flags.DurationVar(&cfg.duration, "duration", time.Minute, "for how long things go wrong")
	flags.IntVar(&cfg.rate, "rate", 1000, "records produced a second")
	flags.IntVar(&cfg.workers, "workers", 2, "worker processes of each of two tenants")
	flags.IntVar(&cfg.partitions, "partitions", 8, "partitions of each topic")
	flags.Uint64Var(&cfg.seed, "seed", uint64(time.Now().UnixNano()), "of the traffic; the faults are at random")
	flags.StringVar(&cfg.scripts, "scripts", ".ci", "folder of the scripts that start Kafka and PostgreSQL")
	flags.BoolVar(&cfg.verbose, "v", false, "log each fault")
	protocol := flags.String("protocol", "classic", "group protocol: classic, or consumer (KIP-848)")
	if err := flags.Parse(args); err != nil {
		return cfg, err //nolint:wrapcheck // it has told the user
	}
	switch *protocol {
	case "classic":
		cfg.session = 3 * time.Second
	case "consumer":
		cfg.protocol, cfg.session = consumer.Consumer, 10*time.Second // that of the broker's configuration in .ci/kafka
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
		return cfg, fmt.Errorf("scripts: %w; run it from the repository's root, or set -scripts", err)
	}
	return cfg, nil
}

// run starts the servers in a folder of their own, and stops them. The folder is
// kept, for the logs, if anything was wrong.
func run(cfg config) (ok bool, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxiproxy's toxics log to the global logger
	level := slog.LevelWarn
	if cfg.verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	dir, err := os.MkdirTemp("", "pawl-torture-")
	if err != nil {
		return false, fmt.Errorf("a folder to work in: %w", err)
	}
	defer func() {
		if ok && err == nil {
			err = os.RemoveAll(dir)
		} else {
			fmt.Fprintln(os.Stderr, "torture: the logs are in", dir)
		}
	}()
	if err := os.Chmod(dir, 0o755); err != nil {
		return false, fmt.Errorf("a folder to work in: %w", err)
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
