package contend

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/bench/internal/traffic"
	"github.com/pawl-go/pawl/statemachine"
)

// runAutocommit is the least that a loop can do with a record: one guarded statement that
// commits by itself. It knows each row's state and version, because it has written it, and it
// writes no history.
func runAutocommit(ctx context.Context, job Job, machine *statemachine.Machine, m *meter) error {
	pool, err := connect(ctx, job.DatabaseURL, 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	t := newTransactor(pool, machine)
	rows := make(map[string]row)
	return eachPoll(ctx, job, m, maxPoll, func(ctx context.Context, records []*kgo.Record) error {
		for _, r := range records {
			message, err := traffic.Decode(r.Value)
			if err != nil {
				return err
			}
			from := rows[message.Key]
			to, legal := t.decide(from, &message)
			if !legal {
				return fmt.Errorf("%w: %s of %s", errIllegal, message.Event, message.Key)
			}
			query, args := t.statements.write(&message, &from, &to)
			tag, err := pool.Exec(ctx, query, args...)
			if err != nil {
				return fmt.Errorf("write the row: %w", err)
			}
			if tag.RowsAffected() != 1 {
				return fmt.Errorf("another writer changed the row of %s", message.Key)
			}
			rows[message.Key] = to
			if sent := header(r, traffic.SentHeader); sent != "" {
				m.committed([]byte(sent), time.Now())
			}
			m.settle(1)
		}
		return nil
	})
}
