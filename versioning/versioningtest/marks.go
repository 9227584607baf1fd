package versioningtest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pawl-go/pawl/versioning"
)

// errGone is the error of a transaction whose server is gone.
var errGone = errors.New("the connection to the database was lost")

// marked identifies a mark.
type marked struct {
	group     string
	topicID   [16]byte
	partition int32
}

func markedBy(group string, m versioning.Mark) marked { return marked{group, m.TopicID, m.Partition} }

// here returns the server that the store simulates.
func (m *Memory) here() versioning.Server {
	return versioning.Server("memory " + strconv.Itoa(m.server))
}

// Marks returns a group's marks; see [postgres.Store.Marks].
func (m *Memory) Marks(ctx context.Context, group string, topicIDs [][16]byte) (marks []versioning.Mark, server versioning.Server, err error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for of, mark := range m.marks {
		if of.group == group && slices.Contains(topicIDs, of.topicID) {
			marks = append(marks, mark)
		}
	}
	return marks, m.here(), nil
}

// SetMarks stores up to where partitions are settled; see [postgres.Store.SetMarks].
func (m *Memory) SetMarks(ctx context.Context, group string, server versioning.Server, marks []versioning.Mark) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if server != m.here() {
		return versioning.ErrServerChanged
	}
	for _, mark := range marks {
		if m.marks[markedBy(group, mark)].Offset < mark.Last {
			return versioning.ErrServerChanged
		}
	}
	for _, mark := range marks {
		if now := m.marks[markedBy(group, mark)].Offset; now > mark.Last {
			mark.Offset = max(mark.Offset, now)
		}
		mark.Last = 0
		m.marks[markedBy(group, mark)] = mark
	}
	return nil
}

// A Backup is the content of a store at one time.
type Backup struct{ database }

// Backup returns the content of the store.
func (m *Memory) Backup() Backup {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Backup{m.clone()}
}

// Restore replaces the store's content with a backup, on a different server. Commits
// after the backup are lost, as when a standby that lacks them takes over, and
// transactions in progress fail. Restore returns the marks from before.
func (m *Memory) Restore(b Backup) (before []versioning.Mark) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before = slices.Collect(maps.Values(m.marks))
	m.database = b.clone()
	m.server++
	for _, h := range slices.Clone(m.lanes.holders) {
		m.lanes.lose(h)
	}
	return before
}

func (d *database) clone() database {
	c := database{
		rows: maps.Clone(d.rows), written: maps.Clone(d.written), writes: d.writes, history: maps.Clone(d.history), digests: maps.Clone(d.digests),
		parked: slices.Clone(d.parked), dead: slices.Clone(d.dead), deadAt: maps.Clone(d.deadAt), marks: maps.Clone(d.marks),
		caused: d.caused.clone(),
	}
	for e, steps := range c.history { // commit appends to these
		c.history[e] = slices.Clone(steps)
		c.digests[e] = slices.Clone(c.digests[e])
	}
	return c
}

// The topics of checkMarks: one that was re-created.
var markedTopics = [][16]byte{{1}, {2}}

func markAt(id [16]byte, partition int32, offset, last int64) versioning.Mark {
	return versioning.Mark{Topic: "orders", TopicID: id, Partition: partition, Offset: offset, Last: last}
}

func checkMarks(t *testing.T, open Open) {
	store := newScript(t, open, suiteCase{}).Store
	orders, again := markedTopics[0], markedTopics[1]
	write := func(group string, server versioning.Server, marks ...versioning.Mark) {
		t.Helper()
		if err := store.SetMarks(t.Context(), group, server, marks); err != nil {
			t.Fatal(err)
		}
	}
	server := wantMarks(t, store, "g")
	write("g", server, markAt(orders, 1, 20, 0), markAt(orders, 0, 10, 0))
	write("g", server, markAt(orders, 0, 5, 10), markAt(orders, 1, 21, 20), markAt(again, 2, 1, 0))
	write("g", server)
	write("other", server, markAt(orders, 0, 7, 0))
	// A caller that does not know the last mark, because it had lost the partition,
	// does not lower it.
	write("g", server, markAt(orders, 1, 15, 10), markAt(again, 2, 0, 0))
	// A caller that knows a higher mark has found that the database lost it.
	lost := []versioning.Mark{markAt(orders, 1, 30, 21), markAt(orders, 0, 8, 6)}
	for _, group := range []string{"g", "new"} {
		if err := store.SetMarks(t.Context(), group, server, lost); !errors.Is(err, versioning.ErrServerChanged) {
			t.Errorf("SetMarks of group %q with a mark below Last = %v, want ErrServerChanged", group, err)
		}
	}
	want := []versioning.Mark{markAt(orders, 0, 5, 0), markAt(orders, 1, 21, 0), markAt(again, 2, 1, 0)}
	wantMarks(t, store, "g", want...)
	checkOtherServer(t, store, server)
	wantMarks(t, store, "g", want...)
	wantMarks(t, store, "other", markAt(orders, 0, 7, 0))
}

// wantMarks checks the marks of a group. It returns the server.
func wantMarks(t *testing.T, store Store, group string, want ...versioning.Mark) versioning.Server {
	t.Helper()
	marks, server, err := store.Marks(t.Context(), group, markedTopics)
	if err != nil || server == "" {
		t.Fatalf("Marks of group %q: server %q, %v", group, server, err)
	}
	slices.SortFunc(marks, func(a, b versioning.Mark) int { return int(a.Partition - b.Partition) })
	if diff := cmp.Diff(want, marks); diff != "" {
		t.Errorf("marks of group %q (-want, +got):\n%s", group, diff)
	}
	return server
}

// checkOtherServer checks that nothing is written if the caller expects another server.
func checkOtherServer(t *testing.T, store Store, server versioning.Server) {
	t.Helper()
	for _, marks := range [][]versioning.Mark{{markAt(markedTopics[0], 0, 99, 0)}, nil} {
		if err := store.SetMarks(t.Context(), "g", "another", marks); !errors.Is(err, versioning.ErrServerChanged) {
			t.Errorf("SetMarks of %v for another server = %v, want ErrServerChanged", marks, err)
		}
	}
	r := &versioning.Record{Origin: originOf(0), Changes: []versioning.Change{{Machine: order, Key: "a", Event: "placed"}}}
	store.Prepare(r)
	for range 2 {
		if result, err := store.Apply(t.Context(), "another", []*versioning.Record{r}); !errors.Is(err, versioning.ErrServerChanged) || len(result.Outcomes) > 0 {
			t.Errorf("Apply on another server = %v, %v; want ErrServerChanged", result, err)
		}
		if _, err := store.Apply(t.Context(), server, []*versioning.Record{r}); err != nil {
			t.Errorf("Apply on the server: %v", err)
		}
	}
}
