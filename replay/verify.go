package replay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Verify makes every entity anew from the topics, in the schema Config.Shadow, and compares state, version,
// data and history with the live ones. The workers may go on meanwhile.
//
// Compared are the columns that the machine's functions may change, and those that the records
// have set. Steps that no record makes, of timers, jobs and callers of Store.Do, are taken from the
// live history if their events take no data, and the columns of such a row are not compared,
// except after timers without functions. An entity with other steps from elsewhere, such as those
// of a migration, or with steps that another version of the machine has made otherwise, is compared
// up to the first of them. Report.Caveats says beforehand what can't be proven; see Config.Begin.
//
// The copies have the defaults, CHECK constraints and unique indexes of the live tables, but not
// their triggers and foreign keys. They are unlogged tables, so Verify needs disk space for a copy
// of rows and history, the right to create a schema, and little memory.
//
// If Verify is interrupted, the next call goes on. Records that it then judges a second time count
// as duplicates. After an error the report says what was done so far.
func Verify(ctx context.Context, c Config) (*Report, error) {
	return withShadow(ctx, c, kindVerify, func(*shadow, *state) error { return nil })
}

// maxCrashes limits how often a replay begins again because the server has crashed.
const maxCrashes = 3

// withShadow makes the entities anew, compares them, and does something with the result.
func withShadow(ctx context.Context, c Config, kind string, then func(*shadow, *state) error) (*Report, error) {
	c = withDefaults(c)
	if err := c.validate(); err != nil {
		return nil, err
	}
	for crashes := 0; ; crashes++ {
		report, err := c.inShadow(ctx, kind, then)
		if !errors.Is(err, errEmptied) || crashes == maxCrashes {
			return report, err
		}
		c.Logger.Warn("the replay begins again", "error", err)
	}
}

func (c *Config) inShadow(ctx context.Context, kind string, then func(*shadow, *state) error) (_ *Report, err error) {
	h, s, err := c.openShadow(ctx, kind)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.close(context.WithoutCancel(ctx), err == nil)) }()
	c.begun(s)
	r := &run{Config: c, state: s, to: h.store, keeper: h}
	if !s.Given {
		err = r.give(ctx, h)
		s.Given = err == nil
	}
	if err == nil {
		err = r.all(ctx)
	}
	if err == nil {
		s.Report.Verified, err = h.compare(ctx, s)
	}
	report := s.Report
	report.Kind = kind
	sortCounts(report.Verdicts)
	sortCounts(report.Released)
	if err == nil {
		s.Report = report
		err = then(h, s)
		report = s.Report
	}
	if err != nil {
		return &report, fmt.Errorf("%s: %w", kind, err)
	}
	report.Ended = time.Now()
	return &report, nil
}

// sampleSteps is about how many steps of the history are looked at beforehand.
const sampleSteps = 20_000

// sample says beforehand, from a sample of the history, what did not come from what will be read.
func (h *shadow) sample(ctx context.Context, ranges []Range) []Caveat {
	unknown := func(err error) []Caveat {
		return []Caveat{{Unknown, "", fmt.Sprintf("a sample of the history could not be read: %v", err)}}
	}
	var rows float64
	if err := h.pool.QueryRow(ctx, "SELECT greatest(reltuples, 1) FROM pg_class WHERE oid = to_regclass($1)", h.live+".transitions").Scan(&rows); err != nil {
		return unknown(err)
	}
	var topicIDs []string
	var partitions []int32
	var firsts, ends []int64
	for _, r := range ranges {
		topicIDs, partitions, firsts, ends = append(topicIDs, r.TopicID), append(partitions, r.Partition), append(firsts, r.First), append(ends, r.End)
	}
	machines, versions := make([]string, len(h.cfg.Tables)), make([]int32, len(h.cfg.Tables))
	for i, t := range h.cfg.Tables {
		machines[i], versions[i] = t.Machine.Name(), int32(t.Machine.Version())
	}
	found, err := h.pool.Query(ctx, fmt.Sprintf(sampleSQL, h.live, min(100, 100*sampleSteps/rows)), machines, topicIDs, partitions, firsts, ends, versions)
	if err != nil {
		return unknown(err)
	}
	var elsewhere []string
	var all, other, pruned, prunedAll, older, olderAll, n int64
	var topic string
	_, err = pgx.ForEachRow(found, []any{&topic, &n, &other, &pruned, &older}, func() error {
		all, prunedAll, olderAll = all+n, prunedAll+pruned, olderAll+older
		if other > 0 {
			if topic == "" {
				topic = "callers of Store.Do and Store.Migrate"
			}
			elsewhere = append(elsewhere, fmt.Sprintf("%d of %s", other, topic))
		}
		return nil
	})
	if err != nil {
		return unknown(err)
	}
	var caveats []Caveat
	if len(elsewhere) > 0 {
		caveats = append(caveats, Caveat{Elsewhere, "", fmt.Sprintf("of a sample of %d steps of the history, these do not come from what is read: %s; "+
			"those whose events take no data are taken as they are, and an entity is compared up to the first other one", all, strings.Join(elsewhere, ", "))})
	}
	if olderAll > 0 {
		caveats = append(caveats, Caveat{Definitions, "", fmt.Sprintf("of a sample of %d steps of the history, %d were made by another version of the machine; "+
			"an entity is compared up to the first of them that this version does not make", all, olderAll)})
	}
	if prunedAll > 0 {
		caveats = append(caveats, Caveat{Pruned, "", fmt.Sprintf("of a sample of %d steps of the history, %d are of entities whose first step is missing; "+
			"if the history was pruned, these entities differ", all, prunedAll)})
	}
	return caveats
}

// sampleSQL counts the steps of a sample by topic, and those of them that no record makes that will be
// read.
const sampleSQL = `
SELECT h.topic, count(*), count(*) FILTER (WHERE r.topic_id IS NULL), count(*) FILTER (WHERE h.version > 1 AND NOT EXISTS (
	SELECT FROM %[1]s.transitions AS f WHERE f.entity = h.entity AND f.machine = h.machine AND f.version = 1)), count(*) FILTER (WHERE h.definition_version <> m.version)
FROM %[1]s.transitions AS h TABLESAMPLE SYSTEM (%[2]f) REPEATABLE (1)
LEFT JOIN unnest($2::uuid[], $3::integer[], $4::bigint[], $5::bigint[]) AS r(topic_id, partition, first, last)
	ON r.topic_id = h.topic_id AND r.partition = h.partition AND h."offset" >= r.first
JOIN unnest($1::text[], $6::integer[]) AS m(name, version) ON m.name = h.machine
GROUP BY h.topic ORDER BY h.topic`
