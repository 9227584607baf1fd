package consumer

import (
	"context"
	"errors"
	"time"

	"github.com/pawl-go/pawl/versioning"
)

// redriveOlder redrives what an older version of a machine has made dead letters.
func (m *maintainer) redriveOlder(ctx context.Context, redriver OlderRedriver) {
	for more := true; more; {
		var settled []versioning.Settled
		var err error
		began := time.Now()
		settled, more, err = redriver.RedriveOlder(ctx, m.owned(), m.cfg.Decode)
		m.maintained(ctx, began, Maintenance{Task: Redriving, Settled: settled, Err: err})
		if len(settled) > 0 {
			m.log.redriven(len(settled))
		}
		if err != nil {
			if !errors.Is(ctx.Err(), context.Canceled) {
				m.log.redrive(err)
			}
			return
		}
	}
}
