package replay_test

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/pawl-go/pawl/replay"
	"github.com/pawl-go/pawl/versioning"
)

// A replay waits while a record can't be decoded, and then goes on as if nothing had been.
func TestTroubleWithDecoding(t *testing.T) {
	t.Parallel()
	w := newNotes(t, 1)
	for i := range 20 {
		w.send(0, "1", "opened", string(rune('a'+i)))
	}
	var asked atomic.Int64
	plain := w.cfg.Decode
	w.cfg.Decode = func(r *versioning.Record) ([]versioning.Change, error) {
		if n := asked.Add(1); n > 5 && n < 9 {
			return nil, versioning.Trouble(errors.New("the registry does not answer"))
		}
		return plain(r)
	}
	report := w.must(replay.Apply(t.Context(), w.cfg))
	if report.Records != 20 || report.Of(versioning.Applied) == 0 {
		t.Errorf("%v", report)
	}
	if n := w.text(`SELECT count(*)::text FROM pawl.dead_letters WHERE reason = 'undecodable'`); n != "0" {
		t.Errorf("%s dead letters", n)
	}
	if n := asked.Load(); n != 23 {
		t.Errorf("%d attempts for 20 records, 3 of which failed", n)
	}
}
