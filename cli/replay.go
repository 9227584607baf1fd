package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/replay"
	"github.com/pawl-go/pawl/versioning"
)

// A replayer is one of the commands below replay.
type replayer struct {
	Config

	database  database
	brokers   []string
	from      string
	toGroup   bool
	perSecond int
	state     string
	shadow    string
	keep      bool
	output    string
	silent    bool
	yes       bool
	machine   string
}

func replayCommand(cfg *Config) *cobra.Command {
	root := &cobra.Command{
		Use:   "replay",
		Args:  cobra.NoArgs, // a misspelt command is an error
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Short: "Read topics again: try, verify, apply, rebuild",
		Long: `Read topics again, up to where they end now, without disturbing the consumer
group. A replay that was interrupted goes on where it was: dry-run and apply with
the file --state, verify and rebuild with what they keep in the database.

The exit status is 0 if everything is as it should be, 1 if not, and 2 if that
could not be found out.`,
	}
	root.AddCommand(dryRunCommand(cfg), verifyCommand(cfg), applyCommand(cfg), rebuildCommand(cfg), offsetsCommand(cfg))
	return root
}

// command returns a command that does work.
func (r *replayer) command(use, short, long, example string, work func(cmd *cobra.Command, c replay.Config) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Example: example, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return r.run(cmd, work) },
	}
	r.database.flag(cmd)
	flags := cmd.Flags()
	flags.StringSliceVar(&r.brokers, "brokers", nil, "Kafka brokers, host:port (default $KAFKA_BROKERS, or those of the program)")
	flags.StringSliceVar(&r.Topics, "topics", r.Topics, "topics to read")
	flags.StringVar(&r.Group, "group", r.Group, "consumer group of the workers")
	flags.StringVar(&r.from, "from", "beginning", "`where` to begin: beginning, a time such as 2026-11-30T08:00:00Z,\nor offsets such as orders/0=15,orders/1=20")
	flags.IntVar(&r.perSecond, "per-second", 0, "read at most `n` records in a second; 0 is no limit")
	flags.StringVar(&r.output, "output", "text", "text or json")
	return cmd
}

func (r *replayer) addToGroup(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&r.toGroup, "to-group", false, "end where the group has committed, not where the topics end")
}

func (r *replayer) addState(cmd *cobra.Command) {
	cmd.Flags().StringVar(&r.state, "state", "", "`file` that says how far it is, to go on after an interruption")
}

func (r *replayer) addShadow(cmd *cobra.Command) {
	cmd.Flags().StringVar(&r.shadow, "shadow", "", "`schema` for the new entities (default pawl_shadow)")
	cmd.Flags().BoolVar(&r.keep, "keep", false, "keep that schema, so that a rebuild need not begin again")
}

func dryRunCommand(cfg *Config) *cobra.Command {
	r := &replayer{Config: *cfg}
	cmd := r.command("dry-run", "Say what applying the records would do, and write nothing", "",
		"  replay dry-run --from 2026-11-30T08:00:00Z", r.reporting(replay.DryRun))
	r.addToGroup(cmd)
	r.addState(cmd)
	return cmd
}

func verifyCommand(cfg *Config) *cobra.Command {
	r := &replayer{Config: *cfg}
	cmd := r.command("verify", "Make every entity anew from the topics, and compare", "",
		"  replay verify --to-group --keep", r.reporting(replay.Verify))
	r.addToGroup(cmd)
	r.addShadow(cmd)
	return cmd
}

func applyCommand(cfg *Config) *cobra.Command {
	r := &replayer{Config: *cfg}
	cmd := r.command("apply", "Apply the records that were not applied", "",
		"  replay apply --from orders/0=15 --state replay.json", r.reporting(replay.Apply))
	r.addToGroup(cmd)
	r.addState(cmd)
	cmd.Flags().BoolVar(&r.silent, "silent", false, "send no messages and enqueue no jobs for what is applied")
	return cmd
}

func rebuildCommand(cfg *Config) *cobra.Command {
	r := &replayer{Config: *cfg}
	var keys []string
	work := func(ctx context.Context, c replay.Config) (*replay.Report, error) {
		if r.machine == "" && len(r.Tables) > 1 && len(keys) > 0 {
			return nil, errors.New("there are several machines; name that of the entities with --machine")
		}
		entities := make([]versioning.Entity, len(keys))
		for i, key := range keys {
			entities[i] = versioning.Entity{Machine: cmp.Or(r.machine, r.Tables[0].Machine.Name()), Key: key}
		}
		return replay.Rebuild(ctx, c, entities...)
	}
	cmd := r.command("rebuild [KEY...]", "Replace entities by what the topics make of them; without keys, all that differ", `Replace entities by what the topics make of them: state, version, columns and
history. Without keys, replace all that differ. Table replaced of the framework's
schema keeps what was there before.`,
		"  replay verify --to-group --keep\n  replay rebuild --to-group 1042 1043", nil)
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		keys = args
		return r.run(cmd, r.reporting(work))
	}
	r.addToGroup(cmd)
	r.addShadow(cmd)
	cmd.Flags().StringVar(&r.machine, "machine", "", "machine of the entities (default: the only one)")
	return cmd
}

// ErrFound is the error of a command below replay that has found something: a dry run that records
// would change something, a verification that entities differ, and so on.
var ErrFound = errors.New("not everything is as it should be; see the report")

// reporting returns what does work and prints the report.
func (r *replayer) reporting(work func(context.Context, replay.Config) (*replay.Report, error)) func(*cobra.Command, replay.Config) error {
	return func(cmd *cobra.Command, c replay.Config) error {
		report, err := work(cmd.Context(), c)
		if report != nil {
			err = errors.Join(err, r.print(cmd.OutOrStdout(), report))
		}
		if err == nil && !report.Clean() {
			return ErrFound
		}
		return err
	}
}

func (r *replayer) print(to io.Writer, report *replay.Report) (err error) {
	if r.output == "json" {
		e := json.NewEncoder(to)
		e.SetIndent("", "  ")
		err = e.Encode(report)
	} else {
		_, err = fmt.Fprintln(to, report)
	}
	if err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	return nil
}

// run calls work with the configuration that the flags ask for.
func (r *replayer) run(cmd *cobra.Command, work func(*cobra.Command, replay.Config) error) error {
	if r.output != "text" && r.output != "json" {
		return fmt.Errorf("unknown output %q; use text or json", r.output)
	}
	from, err := parseFrom(r.from)
	if err != nil {
		return err
	}
	pool, err := r.database.pool(cmd.Context())
	if err != nil {
		return err
	}
	defer pool.Close()
	bar := newBar(cmd.ErrOrStderr())
	defer bar.end()
	c := replay.Config{
		Client: r.client(), Topics: r.Topics, Pool: pool, Schema: r.Schema, Tables: slices.Clone(r.Tables), Decode: r.Decode,
		From: from, PerSecond: r.perSecond, State: r.state, Shadow: r.shadow, Keep: r.keep, Progress: bar.show,
		Begin: func(report replay.Report) { sayCaveats(cmd.ErrOrStderr(), report) },
	}
	if r.toGroup {
		c.Group = r.Group
	}
	for i := range c.Tables {
		c.Tables[i].Silent = c.Tables[i].Silent || r.silent
	}
	return work(cmd, c)
}

// client returns the options of the Kafka client, with the brokers of the flag or the
// environment.
func (r *replayer) client() []kgo.Opt {
	brokers := r.brokers
	if env := os.Getenv("KAFKA_BROKERS"); len(brokers) == 0 && env != "" {
		brokers = strings.Split(env, ",")
	}
	if len(brokers) == 0 {
		return r.Client
	}
	return append(slices.Clone(r.Client), kgo.SeedBrokers(brokers...))
}

func sayCaveats(to io.Writer, r replay.Report) {
	for _, c := range r.Caveats {
		_, _ = fmt.Fprintf(to, "not proven (%s): %s\n", c.Kind, c.Detail)
	}
}
