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
	return before
}

func (d *database) clone() database {
	c := database{
		rows: maps.Clone(d.rows), written: maps.Clone(d.written), writes: d.writes, history: maps.Clone(d.history), digests: maps.Clone(d.digests),
		parked: slices.Clone(d.parked), dead: slices.Clone(d.dead), deadAt: maps.Clone(d.deadAt), marks: maps.Clone(d.marks),
	}
	for e, steps := range c.history { // commit appends to these
		c.history[e] = slices.Clone(steps)
		c.digests[e] = slices.Clone(c.digests[e])
	}
	return c
}

func checkMarks(t *testing.T, open Open) {
	store := newScript(t, open, suiteCase{}).Store
	orders, again := [16]byte{1}, [16]byte{2}
	mark := func(id [16]byte, partition int32, offset int64) versioning.Mark {
		return versioning.Mark{Topic: "orders", TopicID: id, Partition: partition, Offset: offset}
	}
	read := func(group string, want ...versioning.Mark) versioning.Server {
		t.Helper()
		marks, server, err := store.Marks(t.Context(), group, [][16]byte{orders, again})
		if err != nil || server == "" {
			t.Fatalf("Marks of group %q: server %q, %v", group, server, err)
		}
		slices.SortFunc(marks, func(a, b versioning.Mark) int { return int(a.Partition - b.Partition) })
		if diff := cmp.Diff(want, marks); diff != "" {
			t.Errorf("marks of group %q (-want, +got):\n%s", group, diff)
		}
		return server
	}
	write := func(group string, server versioning.Server, marks ...versioning.Mark) {
		t.Helper()
		if err := store.SetMarks(t.Context(), group, server, marks); err != nil {
			t.Fatal(err)
		}
	}
	server := read("g")
	after := func(m versioning.Mark, last int64) versioning.Mark {
		m.Last = last
		return m
	}
	write("g", server, mark(orders, 1, 20), mark(orders, 0, 10))
	write("g", server, after(mark(orders, 0, 5), 10), after(mark(orders, 1, 21), 20), mark(again, 2, 1))
	write("g", server)
	write("other", server, mark(orders, 0, 7))
	// A caller that does not know the last mark, because it had lost the partition,
	// does not lower it.
	write("g", server, after(mark(orders, 1, 15), 10), mark(again, 2, 0))
	// A caller that knows a higher mark has found that the database lost it.
	lost := []versioning.Mark{after(mark(orders, 1, 30), 21), after(mark(orders, 0, 8), 6)}
	if err := store.SetMarks(t.Context(), "g", server, lost); !errors.Is(err, versioning.ErrServerChanged) {
		t.Errorf("SetMarks with a mark below Last = %v, want ErrServerChanged", err)
	}
	if err := store.SetMarks(t.Context(), "new", server, lost); !errors.Is(err, versioning.ErrServerChanged) {
		t.Errorf("SetMarks with no mark and a Last = %v, want ErrServerChanged", err)
	}
	want := []versioning.Mark{mark(orders, 0, 5), mark(orders, 1, 21), mark(again, 2, 1)}
	read("g", want...)
	for _, marks := range [][]versioning.Mark{{mark(orders, 0, 99)}, nil} {
		if err := store.SetMarks(t.Context(), "g", "another", marks); !errors.Is(err, versioning.ErrServerChanged) {
			t.Errorf("SetMarks of %v for another server = %v, want ErrServerChanged", marks, err)
		}
	}
	read("g", want...)
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
	read("other", mark(orders, 0, 7))
}
