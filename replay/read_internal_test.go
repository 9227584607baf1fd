package replay

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/kgorecord"
	"github.com/pawl-go/pawl/versioning"
)

var errNoRegistry = errors.New("the registry does not answer")

// troubled returns a record whose decoding is in trouble for the first n attempts.
func troubled(n int) (*kgorecord.Maker, *versioning.Record) {
	decode := func(*versioning.Record) ([]versioning.Change, error) {
		if n--; n >= 0 {
			return nil, versioning.Trouble(errNoRegistry)
		}
		return []versioning.Change{{Key: "1", Event: "opened"}}, nil
	}
	k := &kgo.Record{Topic: "cases", Offset: 7}
	maker := kgorecord.NewMaker([]*kgo.Record{k}, decode, func(*versioning.Record) {})
	rec := maker.Make(k, [16]byte{1})
	return maker, rec
}

func TestDecodeTrouble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &reader{cfg: &Config{Logger: slog.New(slog.DiscardHandler)}}
		maker, rec := troubled(5)
		if err := r.whileTroubled(t.Context(), maker, rec); err != nil || rec.Err != nil || len(rec.Changes) != 1 {
			t.Errorf("after 5 attempts: %v, the record %+v", err, rec)
		}
		maker, rec = troubled(1_000_000)
		began := time.Now()
		err := r.whileTroubled(t.Context(), maker, rec)
		if took := time.Since(began); !errors.Is(err, errNoRegistry) || took < retryFor || took > retryFor+2*longestRetry {
			t.Errorf("%v after %v", err, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		maker, rec = troubled(1_000_000)
		began = time.Now()
		if err := r.whileTroubled(ctx, maker, rec); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
