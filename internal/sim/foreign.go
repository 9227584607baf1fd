package sim

import (
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

// foreign is another application that writes the rows of accounts all along, without a
// word to the workers. It counts its writes in two columns: seen is in the row type of the
// machine, so actions write it back, and visits is not.
type foreign struct {
	store *versioningtest.Memory

	mu     sync.Mutex       // held while the store and writes change together
	writes map[string]int64 // by the account's key: those that the database has
}

// A saved database is a backup, with what foreign has written until then.
type saved struct {
	versioningtest.Backup

	writes map[string]int64
}

// write counts once more in an account's row. It reports whether the account exists.
func (f *foreign) write(key string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	ok := f.store.Update(versioning.Entity{Machine: accountDefinition.Name, Key: key}, func(row *versioningtest.Row) {
		for _, column := range []string{"seen", "visits"} {
			n, _ := row.Columns[column].(int64)
			row.Columns[column] = n + 1
		}
	})
	if ok {
		f.writes[key]++
	}
	return ok
}

func (f *foreign) backup() saved {
	f.mu.Lock()
	defer f.mu.Unlock()
	return saved{f.store.Backup(), maps.Clone(f.writes)}
}

func (f *foreign) restore(b saved) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes = maps.Clone(b.writes)
	f.store.Restore(b.Backup)
}

// writeForeign writes the rows of accounts until the returned function is called.
func (w *world) writeForeign() (stop func()) {
	if w.script.accounts == 0 {
		return func() {}
	}
	r := rand.New(rand.NewPCG(w.script.seed, 3))
	var writer sync.WaitGroup
	stopped := make(chan struct{})
	writer.Go(func() {
		for {
			select {
			case <-time.After(upTo(r, time.Second)):
				w.foreign.write(accountKey(r.IntN(w.script.accounts)))
			case <-stopped:
				return
			}
		}
	})
	return func() {
		close(stopped)
		writer.Wait()
	}
}

// interfere writes some of the rows that a plan is about to write.
func (w *world) interfere(c *call, plan *versioning.Plan) {
	for i := range plan.Moves {
		m := &plan.Moves[i]
		if m.Entity.Machine == accountDefinition.Name && c.worker.chance(3) && w.foreign.write(m.Entity.Key) {
			w.cover("foreign write in between")
		}
	}
}
