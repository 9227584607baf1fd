package replay

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
)

// A Caveat is something that a replay can't prove, and why.
type Caveat struct {
	Kind   CaveatKind `json:"kind"`
	Topic  string     `json:"topic,omitempty"`
	Detail string     `json:"detail"`
}

// A CaveatKind says what is missing.
type CaveatKind string

// The kinds of caveats.
const (
	// Retention: the topic has no longer all of its records.
	Retention CaveatKind = "retention"

	// Compaction: the topic keeps only the last record of each key.
	Compaction CaveatKind = "compaction"

	// Elsewhere: steps of the history did not come from what is read: Store.Do, timers,
	// migrations, redelivered jobs, other topics, or an earlier topic of the same name.
	Elsewhere CaveatKind = "elsewhere"

	// Definitions: steps of the history were made by another version of the machine.
	Definitions CaveatKind = "definitions"

	// Pruned: the history of entities does not begin at their first version.
	Pruned CaveatKind = "pruned"

	// Decoder: records that are no duplicates may be decoded to something else than when they were
	// applied.
	Decoder CaveatKind = "decoder"

	// Unknown: something could not be found out.
	Unknown CaveatKind = "unknown"
)

// missing returns the partitions whose first records are gone.
func missing(ranges []Range) (caveats []Caveat) {
	gone := make(map[string][]string)
	for _, r := range ranges {
		if r.First > 0 {
			gone[r.Topic] = append(gone[r.Topic], fmt.Sprintf("%d begins at %d", r.Partition, r.First))
		}
	}
	for topic, partitions := range gone {
		caveats = append(caveats, Caveat{Retention, topic, fmt.Sprintf("the first records of topic %q were deleted (partition %s): "+
			"entities that they have moved can't be made anew", topic, strings.Join(partitions, ", "))})
	}
	slices.SortFunc(caveats, func(a, b Caveat) int { return strings.Compare(a.Topic, b.Topic) })
	return caveats
}

// compacted returns the topics that are compacted.
func (c *Config) compacted(ctx context.Context, adm *kadm.Client) (caveats []Caveat) {
	configs, err := adm.DescribeTopicConfigs(ctx, c.Topics...)
	if err != nil {
		return []Caveat{{Unknown, "", fmt.Sprintf("whether the topics are compacted could not be read: %v", err)}}
	}
	for _, config := range configs {
		if config.Err != nil {
			caveats = append(caveats, Caveat{Unknown, config.Name, fmt.Sprintf("whether topic %q is compacted could not be read: %v", config.Name, config.Err)})
		}
		for _, entry := range config.Configs {
			if entry.Key == "cleanup.policy" && strings.Contains(entry.MaybeValue(), "compact") {
				caveats = append(caveats, Caveat{Compaction, config.Name, fmt.Sprintf("topic %q is compacted: "+
					"of records with the same key only the last one is sure to be there, so steps may be missing", config.Name)})
			}
		}
	}
	slices.SortFunc(caveats, func(a, b Caveat) int { return strings.Compare(a.Topic, b.Topic) })
	return caveats
}
