//go:build failover

package failover

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pawl-go/pawl/internal/embedded"
	"github.com/pawl-go/pawl/internal/testenv"
)

// TestStandbyBehind promotes an asynchronous standby that was disconnected from
// its primary for a while under load. The worker must notice and go back to its
// marks.
func TestStandbyBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	standby := w.standby()
	worker := w.run(w.config(w.open(w.pool(either(w.server, standby), nil))))
	w.load(time.Second)
	w.awaitCommitted(w.produced)
	w.caughtUp(standby)
	w.cutOff(standby)
	w.load(2 * time.Second)
	w.awaitLost(standby)
	w.failOver(standby)
	w.load(time.Second)
	w.awaitSettled()
	worker.stop()
	worker.wantLogged(goesBack, true)
}

// TestRestore restores a base backup, both while a worker runs and while it is
// stopped.
func TestRestore(t *testing.T) {
	t.Parallel()
	for name, running := range map[string]bool{"running": true, "stopped": false} {
		for of, marked := range map[string]bool{"later": true, "first": false} {
			t.Run(name+" "+of, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, false)
				w.needsBackups()
				var way way
				store := w.open(w.poolBy(&way))
				worker := w.run(w.config(store))
				if marked { // otherwise the backup does not know the group
					w.load(500 * time.Millisecond)
					w.awaitCommitted(w.produced)
				}
				backup := w.postgres(w.server.Backup(t.Context()))
				w.load(time.Second)
				w.awaitCommitted(w.produced)
				if !running {
					worker.stop()
				}
				w.kill()
				w.restart(backup)
				way.to(backup)
				w.server = backup
				if !running {
					worker = w.run(w.config(store))
				}
				w.awaitSettled()
				worker.stop()
				worker.wantLogged(goesBack, true)
			})
		}
	}
}

// TestReadOnlyConnections leaves a worker with connections to a read-only
// server, while every new connection leads to a writable one.
func TestReadOnlyConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	standby := w.standby()
	var way way
	pool := w.poolBy(&way)
	worker := w.run(w.config(w.open(pool)))
	w.load(200 * time.Millisecond)
	w.awaitSettled()
	w.caughtUp(standby)

	way.to(standby)
	pool.Reset()
	w.produce(w.make(1000)...)
	testenv.Eventually(t, soon, func() error {
		if worker.troubles.Load() == 0 {
			return errors.New("no failed attempt yet")
		}
		return nil
	})
	way.to(w.server)
	troubles := worker.troubles.Load()
	w.awaitSettled()
	// Each list of a batch may fail once more, on its own connection.
	if n := worker.troubles.Load() - troubles; n > 8 {
		t.Errorf("%d more attempts failed", n)
	}
	worker.stop()
}

// load produces about 3,000 records per second for a while.
func (w *world) load(d time.Duration) {
	w.t.Helper()
	const tick = 20 * time.Millisecond
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for range d / tick {
		w.produce(w.make(60)...)
		<-ticker.C
	}
}

// awaitLost waits until the group has committed offsets that the standby has
// not received.
func (w *world) awaitLost(standby *embedded.Postgres) {
	w.t.Helper()
	testenv.Eventually(w.t, soon, func() error {
		const sum = `SELECT coalesce(sum("offset"), 0)::bigint FROM pawl.marks`
		var marked int64
		if _, err := fmt.Sscan(w.ask(standby, sum), &marked); err != nil {
			w.t.Fatal(err)
		}
		if committed := w.committed(); committed < marked+3000 {
			return fmt.Errorf("%d offsets committed, but the standby has marks for %d", committed, marked)
		}
		return nil
	})
}
