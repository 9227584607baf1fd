package pawltest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// TB is what the kit needs of a test: *testing.T, *testing.B and *rapid.T have it. If a TB of your
// own wraps a *testing.T, give it a method Unwrap() *testing.T: with that, functions are also called
// at other times (see [Worker]).
type TB interface {
	Helper()
	Name() string
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(f func())
	Context() context.Context
}

// Config configures a [Worker]. Only Tables is required.
type Config struct {
	// Tables are those of your workers, as for [postgres.Open]. In memory, their names and
	// columns are not used, but Machine, Identity, MaxParked, Encode, ContentType, Outbox and
	// Queue are. A Queue only checks jobs, if it is a [postgres.JobChecker]: nothing is written
	// to it. Without a Queue, every job is accepted.
	Tables []postgres.Table

	// Decode is your workers' function. [Worker.Send] and [Walk.Records] need it.
	Decode func(*versioning.Record) ([]versioning.Change, error)

	// Pool connects to the database that has the tables; [Postgres] makes one for a test. nil
	// means that the worker keeps everything in memory.
	Pool *pgxpool.Pool

	// Schema is the framework's schema in the database. Empty means pawl.
	Schema string

	// Start is what the worker's clock shows at first. The zero time means noon on June 3, 2024,
	// in UTC, and with a Pool the current time.
	Start time.Time

	// Impure turns off the checks of functions.
	Impure bool
}

var (
	errNoTables = errors.New("no tables; set Config.Tables, at least to {{Machine: yourMachine}}")
	errNoDecode = errors.New("no Decode; set Config.Decode to the function of your worker, or use Give")
)

func (c *Config) validate() error {
	problems := make([]error, 0, 1)
	if len(c.Tables) == 0 {
		problems = append(problems, errNoTables)
	}
	for i, t := range c.Tables {
		if t.Machine == nil {
			problems = append(problems, fmt.Errorf("table %d (%q) has no Machine", i, t.Name))
		}
	}
	return errors.Join(problems...)
}

// defaultStart is the time at which the clock of a worker in memory starts.
var defaultStart = time.Date(2024, time.June, 3, 12, 0, 0, 0, time.UTC)

// rules returns the rules of the tables for a store in memory.
func (c *Config) rules() []versioning.Rules {
	rules := make([]versioning.Rules, len(c.Tables))
	for i, t := range c.Tables {
		rules[i] = versioning.Rules{
			Machine: t.Machine, Identity: t.Identity, MaxParked: t.MaxParked, KeepUnknown: t.KeepUnknown > 0,
			Encode: t.Encode, ContentType: t.ContentType, PassHeaders: t.PassHeaders,
			TextKeys: t.Outbox == postgres.Debezium, CheckJob: anyJob,
		}
		if t.MaxParked == 0 {
			rules[i].MaxParked = postgres.DefaultMaxParked
		}
		if checker, ok := t.Queue.(postgres.JobChecker); ok {
			rules[i].CheckJob = checker.CheckJob
		}
	}
	return rules
}

func anyJob(any) error { return nil }

// table returns the table of a machine.
func (c *Config) table(machine string) *postgres.Table {
	for i := range c.Tables {
		if c.Tables[i].Machine.Name() == machine {
			return &c.Tables[i]
		}
	}
	return nil
}

// machine returns a machine by its name, or nil.
func (c *Config) machine(name string) *statemachine.Machine {
	if t := c.table(name); t != nil {
		return t.Machine
	}
	return nil
}
