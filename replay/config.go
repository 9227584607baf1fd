package replay

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/migrations"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// Config says what is replayed. Client, Topics, Pool, Tables and Decode are required; the zero
// value of every other field is useful.
type Config struct {
	// Client holds options for the Kafka client, like consumer.Config.Client.
	Client []kgo.Opt

	// Topics are the topics to read.
	Topics []string

	// Pool is the database with the entities. Verify and Rebuild open a second pool with its
	// configuration, and apply migrations with its connection string.
	Pool *pgxpool.Pool

	// Schema is the framework's schema. Empty means pawl.
	Schema string

	// Tables are the tables of the entities, as they are passed to postgres.Open.
	Tables []postgres.Table

	// Decode returns the changes that a record asks for; see consumer.Config.
	Decode consumer.DecodeFunc

	// From says where each partition begins. The zero value is the beginning.
	From From

	// Group is the consumer group whose workers keep the entities. If it is set, each partition
	// ends where the group has committed, so that records which the workers have not read yet are
	// no differences. Otherwise a partition ends where it ended when the replay began. The group is
	// not disturbed.
	Group string

	// PerSecond limits the records that are read in a second, and the entities that Rebuild
	// replaces in one. 0 means no limit.
	PerSecond int

	// Connections is the number of concurrent transactions, and MaxBatch the largest number of
	// records that they share, as in consumer.Config. 0 means 4 and 10,000.
	Connections int
	MaxBatch    int

	// State is a file in which DryRun and Apply keep how far they are. If it exists, they go on
	// there. They remove it at the end. Empty means none. Verify and Rebuild keep it in
	// the database.
	State string

	// Shadow is the schema in which Verify and Rebuild make every entity anew. It is dropped at
	// the end, unless Keep is set. Empty means pawl_shadow.
	Shadow string
	Keep   bool

	// LowerVersions allows Rebuild to lower the version of an entity whose machine has functions.
	// Its next steps then have versions that it had before, and with these the IDs of their
	// messages and jobs, which whoever got them before takes for duplicates.
	LowerVersions bool

	// Samples limits the records that a report names for each verdict and reason. 0 means 5.
	// Differences limits the differences that a report names. 0 means 1,000. All are counted.
	Samples     int
	Differences int

	// Begin is called before anything is read, with what will be read and what can't be proven
	// with that. nil is allowed.
	Begin func(Report)

	// Progress is called at most about five times a second, from one goroutine at a time. nil is
	// allowed.
	Progress func(Progress)

	// Logger receives logs. nil means slog.Default().
	Logger *slog.Logger
}

// From says where a replay begins. The zero value is the beginning of each partition.
type From struct {
	// Time is the timestamp of the first record.
	Time time.Time `json:"time,omitzero"`

	// Offsets holds the first offset of partitions, by topic. Partitions that are not in it are
	// not read. It takes precedence over Time.
	Offsets map[string]map[int32]int64 `json:"offsets,omitempty"`
}

// IsBeginning reports whether each partition begins at its beginning.
func (f From) IsBeginning() bool { return f.Time.IsZero() && f.Offsets == nil }

// Progress is how far a replay is.
type Progress struct {
	// Step is what is being done, and so what the other fields count: "read" offsets, "take over"
	// steps that no record makes, "compare" statements, some of which take long, or "rebuild"
	// entities.
	Step string

	Done      int64
	Total     int64
	PerSecond float64       // since this process began the step
	Left      time.Duration // at this rate; 0 if it is unknown
}

// The values of Progress.Step.
const (
	stepRead    = "read"
	stepGiven   = "take over"
	stepCompare = "compare"
	stepRebuild = "rebuild"
)

// ErrConfig matches every error about an unusable Config.
var ErrConfig = errors.New("replay configuration")

const (
	defaultConnections = 4
	defaultMaxBatch    = 10_000
	defaultShadow      = "pawl_shadow"
	defaultSamples     = 5
	defaultDifferences = 1000
)

// withDefaults returns a configuration with the defaults for what is zero.
func withDefaults(c Config) Config {
	c.Connections = cmp.Or(c.Connections, defaultConnections)
	c.MaxBatch = cmp.Or(c.MaxBatch, defaultMaxBatch)
	if c.PerSecond > 0 {
		c.MaxBatch = min(c.MaxBatch, c.PerSecond)
	}
	c.Schema = cmp.Or(c.Schema, migrations.DefaultSchema)
	c.Shadow = cmp.Or(c.Shadow, defaultShadow)
	c.Samples = cmp.Or(c.Samples, defaultSamples)
	c.Differences = cmp.Or(c.Differences, defaultDifferences)
	c.Logger = cmp.Or(c.Logger, slog.Default())
	return c
}

// validate returns all errors of a configuration at once.
func (c *Config) validate() error {
	var problems []error
	require := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...))
		}
	}
	require(len(c.Topics) > 0 && !slices.Contains(c.Topics, ""), "Topics is empty or has an empty name; name the topics to read")
	require(c.Pool != nil, "Pool is nil; pass one with the database of the entities")
	require(len(c.Tables) > 0, "Tables is empty; pass those of the workers")
	require(c.Decode != nil, "Decode is nil; pass that of the workers")
	require(c.PerSecond >= 0, "PerSecond is %d; it must not be negative", c.PerSecond)
	require(c.Connections > 0 && c.MaxBatch > 0, "Connections is %d and MaxBatch %d; they must not be negative", c.Connections, c.MaxBatch)
	require(c.Samples > 0 && c.Differences > 0, "Samples is %d and Differences %d; they must not be negative", c.Samples, c.Differences)
	require(c.Shadow != c.Schema && !strings.ContainsAny(c.Shadow, ".\x00"), "Shadow is %q; name a schema of its own, without a dot", c.Shadow)
	for topic := range c.From.Offsets {
		require(slices.Contains(c.Topics, topic), "From.Offsets has topic %q, which is not in Topics", topic)
	}
	return errors.Join(problems...)
}
