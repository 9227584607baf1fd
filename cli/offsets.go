package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-go/pawl/replay"
)

func offsetsCommand(cfg *Config) *cobra.Command {
	r := &replayer{Config: *cfg}
	cmd := r.command("offsets", "Move the offsets of the stopped group, after a dry run", `Move the offsets of the group, whose workers must be stopped, to --from. First a
dry run says what the workers will do then. Exactly what was shown is moved: if
the group has committed other offsets meanwhile, nothing is.`,
		"  replay offsets --from 2026-11-30T08:00:00Z", r.moveOffsets)
	cmd.Flags().BoolVar(&r.yes, "yes", false, "do not ask")
	return cmd
}

func (r *replayer) moveOffsets(cmd *cobra.Command, c replay.Config) error {
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	dry := c
	c.Group, dry.Group = r.Group, ""
	moves, err := replay.PlanOffsets(ctx, c)
	if err != nil {
		return err //nolint:wrapcheck // it says what it is about
	}
	if len(moves) == 0 {
		_, _ = fmt.Fprintf(out, "group %s is there already\n", c.Group)
		return nil
	}
	report, err := replay.DryRun(ctx, dry)
	if err != nil {
		return err //nolint:wrapcheck // it says what it is about
	}
	if err := r.print(out, report); err != nil {
		return err
	}
	ask := cmd.ErrOrStderr()
	for _, m := range moves {
		_, _ = fmt.Fprintf(ask, "%s/%d: from %d to %d\n", m.Topic, m.Partition, m.From, m.To)
	}
	if !r.yes && !confirmed(cmd, fmt.Sprintf("Move the offsets of group %s?", c.Group)) {
		return errors.New("nothing was moved; confirm with y, or with --yes")
	}
	if err := replay.MoveOffsets(ctx, c, moves); err != nil {
		return err //nolint:wrapcheck // it says what it is about
	}
	_, _ = fmt.Fprintf(ask, "moved %d partitions\n", len(moves))
	return nil
}

// parseFrom parses the flag --from.
func parseFrom(text string) (from replay.From, err error) {
	if text == "beginning" {
		return from, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return replay.From{Time: at}, nil
	}
	from.Offsets = make(map[string]map[int32]int64)
	for part := range strings.SplitSeq(text, ",") {
		where, offset, ok := strings.Cut(part, "=")
		slash := strings.LastIndexByte(where, '/')
		if !ok || slash < 0 {
			return from, fmt.Errorf("--from is %q; it must be beginning, a time such as 2026-11-30T08:00:00Z, or offsets such as orders/0=15,orders/1=20", text)
		}
		partition, err := strconv.ParseInt(where[slash+1:], 10, 32)
		if err != nil {
			return from, fmt.Errorf("--from: the partition in %q: %w", part, err)
		}
		at, err := strconv.ParseInt(offset, 10, 64)
		if err != nil {
			return from, fmt.Errorf("--from: the offset in %q: %w", part, err)
		}
		topic := where[:slash]
		if from.Offsets[topic] == nil {
			from.Offsets[topic] = make(map[int32]int64)
		}
		from.Offsets[topic][int32(partition)] = at
	}
	return from, nil
}
