package cli_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/cli"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/replay"
	"github.com/pawl-go/pawl/versioning"
)

// An answer is a terminal on which somebody says yes, after something has happened.
type answer struct {
	first func()
	yes   *strings.Reader
}

func (a *answer) Read(p []byte) (int, error) {
	if a.first != nil {
		a.first()
		a.first = nil
	}
	return a.yes.Read(p) //nolint:wrapcheck // io.EOF must stay as it is
}

// TestOffsetsAreThoseThatWereShown changes what the group has committed while the command asks.
func TestOffsetsAreThoseThatWereShown(t *testing.T) {
	t.Parallel()
	url, brokers, topic := testenv.Postgres(t, withLamps), testenv.Brokers(t), testenv.Topic(t, 2)
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i := range 10 {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Partition: int32(i % 2), Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	adm, group := kadm.NewClient(client), topic+" workers"
	commit := func(p int32, at int64) {
		t.Helper()
		var offsets kadm.Offsets
		offsets.Add(kadm.Offset{Topic: topic, Partition: p, At: at, LeaderEpoch: -1})
		if err := adm.CommitAllOffsets(t.Context(), group, offsets); err != nil {
			t.Fatal(err)
		}
	}
	move := func(meanwhile func()) (string, error) {
		root := &cobra.Command{Use: "lampd", SilenceErrors: true, SilenceUsage: true}
		root.AddCommand(cli.Commands(cli.Config{
			Tables: lamps(1, "on"), Topics: []string{topic}, Group: group,
			Decode: func(*versioning.Record) ([]versioning.Change, error) { return nil, nil },
		})...)
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetErr(&out)
		root.SetIn(&answer{meanwhile, strings.NewReader("y\n")})
		root.SetArgs([]string{"replay", "offsets", "--database-url", url, "--brokers", strings.Join(brokers, ",")})
		err := root.ExecuteContext(t.Context())
		return out.String(), err
	}
	wantAt := func(want ...int64) {
		t.Helper()
		all, err := adm.FetchOffsets(t.Context(), group)
		if err != nil {
			t.Fatal(err)
		}
		for p, at := range want {
			if o, _ := all.Lookup(topic, int32(p)); o.At != at {
				t.Errorf("partition %d is at %d, not at %d", p, o.At, at)
			}
		}
	}
	commit(0, 5)
	commit(1, 0)
	out, err := move(func() { commit(1, 3) }) // it was not shown, so it stays
	if err != nil || !strings.Contains(out, "moved 1 partitions") {
		t.Errorf("%v: %s", err, out)
	}
	wantAt(0, 3)
	out, err = move(func() { commit(1, 4) })
	if !errors.Is(err, replay.ErrPlanChanged) || strings.Contains(out, "moved") {
		t.Errorf("%v: %s", err, out)
	}
	wantAt(0, 4)
}
