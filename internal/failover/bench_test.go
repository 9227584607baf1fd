//go:build failover

package failover

import (
	"testing"

	"github.com/pawl-go/pawl/versioning"
)

// BenchmarkReplay replays settled batches, without and with a synchronous
// standby.
func BenchmarkReplay(b *testing.B) {
	w := newWorld(b, true)
	store := w.open(w.pool(w.server.URL(), nil))
	batch := make([]*versioning.Record, 5000)
	for i := range batch {
		m := w.make(2)[0]
		batch[i] = &versioning.Record{
			Origin: versioning.Origin{Topic: topic, TopicID: [16]byte{1}, Offset: int64(i)}, Value: m.Value,
			Changes: []versioning.Change{{Machine: thing.Name(), Key: string(m.Key), Event: "made"}},
		}
		store.Prepare(batch[i])
	}
	replay := func(b *testing.B) {
		b.Helper()
		for b.Loop() {
			if _, err := store.Apply(b.Context(), "", batch); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N*len(batch))/b.Elapsed().Seconds(), "records/s")
	}
	b.Run("first", replay)
	b.Run("alone", replay)
	w.standby()
	w.waitForStandby()
	b.Run("standby", replay)
}
