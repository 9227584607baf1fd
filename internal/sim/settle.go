package sim

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pawl-go/pawl/versioning"
)

// settle waits until everything is done.
func (w *world) settle() {
	w.log.Info("calm")
	calmSince, doneSince := time.Now(), time.Time{}
	for {
		undone := w.undone()
		switch {
		case undone != "":
			doneSince = time.Time{}
		case doneSince.IsZero():
			doneSince = time.Now()
		case time.Since(doneSince) >= w.catchUp():
			return
		}
		if time.Since(calmSince) > patience {
			w.fail("stuck %v after the last fault: %s; %s", patience, undone, w.members())
			return
		}
		w.expel(calmSince)
		<-time.After(500 * time.Millisecond)
	}
}

// catchUp is how long a worker that went back to the marks may take to settle
// the lost records again.
func (w *world) catchUp() time.Duration {
	if w.wasRestored() {
		return 15 * time.Second
	}
	return 0
}

// undone says what is not done yet, or returns "".
func (w *world) undone() string {
	if n := w.calls.Load(); n > 0 {
		return fmt.Sprintf("%d calls of the store have not returned", n)
	}
	committed := w.committed()
	for p, messages := range w.script.messages {
		if committed[p] < int64(len(messages)) {
			return fmt.Sprintf("partition %d is committed up to %d of %d", p, committed[p], len(messages))
		}
	}
	if p, ok := w.behind(); ok {
		return fmt.Sprintf("partition %d has no worker that knows the current server", p)
	}
	if undone := w.unpublished(); undone != "" {
		return undone
	}
	for _, p := range w.store.Parked() {
		if row, _ := w.store.Row(p.Entity); row.Version != p.Seen {
			return fmt.Sprintf("%v waits for %v at version %d, judged at %d", p.Origin, p.Entity, row.Version, p.Seen)
		}
	}
	return ""
}

// behind returns a partition of which no worker has gone back to the mark after
// a backup was restored.
func (w *world) behind() (partition int32, ok bool) {
	if !w.wasRestored() {
		return 0, false
	}
	_, here, err := w.store.Marks(context.Background(), group, nil)
	if err != nil {
		panic(err) // its context is not canceled
	}
	owners := make(map[int32]string)
	if info := w.cluster.GroupInfo(group); info != nil {
		for _, m := range info.Members {
			for _, p := range m.Assignment[topic] {
				owners[p] = m.ClientID
			}
		}
	}
	for p := range int32(len(w.script.messages)) {
		knows := slices.ContainsFunc(w.workers, func(worker *worker) bool {
			on, _ := worker.on.Load().(versioning.Server)
			return worker.name == owners[p] && on == here && !worker.dead.Load()
		})
		if !knows {
			return p, true
		}
	}
	return 0, false
}

func (w *world) wasRestored() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.covered["restore"] > 0
}

// members describes the members of the group.
func (w *world) members() string {
	info := w.cluster.GroupInfo(group)
	if info == nil {
		return "the group does not exist"
	}
	var text strings.Builder
	fmt.Fprint(&text, "the group is ", info.State)
	for _, m := range info.Members {
		fmt.Fprintf(&text, ", %s has %v", m.ClientID, m.Assignment[topic])
	}
	return text.String()
}

// committed returns the committed offsets by partition, 0 for none.
func (w *world) committed() []int64 {
	offsets := make([]int64, len(w.script.messages))
	if info := w.cluster.GroupInfo(group); info != nil {
		for p, c := range info.Commits[topic] {
			offsets[p] = c.Offset
		}
	}
	return offsets
}
