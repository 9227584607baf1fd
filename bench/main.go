package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/pawl-go/pawl/bench/internal/contend"
	"github.com/pawl-go/pawl/bench/internal/measure"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if len(args) == 1 && args[0] == measure.ChildCommand {
		return measure.Child(ctx, os.Stdin, os.Stdout)
	}
	o, svg, err := options(args)
	if err != nil {
		return err
	}
	if o.Dir, err = os.MkdirTemp("", "pawl-bench-"); err != nil {
		return fmt.Errorf("create a directory for recorded statements: %w", err)
	}
	defer os.RemoveAll(o.Dir) //nolint:errcheck // it is temporary
	results, err := measure.Run(ctx, o)
	if err != nil {
		return err
	}
	if svg != "" {
		var chart bytes.Buffer
		if err := results.Chart(&chart, contend.All); err != nil {
			return err
		}
		if err := os.WriteFile(svg, chart.Bytes(), 0o644); err != nil { //nolint:gosec // it is part of the docs
			return fmt.Errorf("write the chart: %w", err)
		}
	}
	if err := results.Table(os.Stdout, contend.All); err != nil {
		return err
	}
	line, err := results.Summary().JSON()
	if err != nil {
		return fmt.Errorf("encode the summary: %w", err)
	}
	_, err = fmt.Printf("%s\n", line)
	return err
}

func options(args []string) (o measure.Options, svg string, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	workload := flags.String("workload", "", "comma-separated workloads (all):"+measure.About())
	contenders := flags.String("contenders", "", "comma-separated contenders: "+strings.Join(contend.All, ", ")+" (all that a workload has)")
	flags.BoolVar(&o.Quick, "quick", false, "little data and three rounds")
	flags.IntVar(&o.Rounds, "rounds", 0, "rounds of each workload (5, with -quick 3)")
	flags.StringVar(&svg, "svg", "", "write a chart to this file")
	flags.StringVar(&o.Profiles, "cpuprofile", "", "write profiles of the worker's CPU and allocations to this directory")
	flags.BoolVar(&o.Stats, "pg-stats", false, "log what PostgreSQL's sessions wait for, and its top statements if pg_stat_statements is loaded")
	flags.StringVar(&o.BankLog, "bank-log", "../../shared/data/bpic2012.csv.gz", "path of the BPI Challenge 2012 event log")
	if err := flags.Parse(args); err != nil {
		return o, "", err
	}
	o.Workloads, o.Contenders = list(*workload), list(*contenders)
	if o.Rounds == 0 {
		o.Rounds = 5
		if o.Quick {
			o.Rounds = 3
		}
	}
	for _, path := range []*string{&o.Profiles, &o.BankLog} {
		if *path != "" {
			if *path, err = filepath.Abs(*path); err != nil {
				return o, "", err
			}
		}
	}
	o.Brokers, o.DatabaseURL = list(os.Getenv("KAFKA_BROKERS")), os.Getenv("DATABASE_URL")
	if len(o.Brokers) == 0 || o.DatabaseURL == "" {
		return o, "", errors.New("KAFKA_BROKERS or DATABASE_URL is not set; set both, or run bench/run, which starts servers")
	}
	o.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	return o, svg, nil
}

func list(words string) []string {
	if words == "" {
		return nil
	}
	return strings.Split(words, ",")
}
