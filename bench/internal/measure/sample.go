package measure

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/bench/internal/contend"
)

// sample samples the activity of PostgreSQL's sessions while a contender runs,
// and logs it when stop is called. It does nothing unless Options.Stats is set.
func (b *bench) sample(ctx context.Context, workload string, job contend.Job) (stop func()) {
	if !b.Stats {
		return func() {}
	}
	conn, err := pgx.Connect(ctx, b.DatabaseURL)
	if err != nil {
		b.Logger.Warn("cannot sample PostgreSQL", "error", err)
		return func() {}
	}
	statements := resetStatements(ctx, conn)
	counts, samples := make(map[string]int), 0
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for tick := time.NewTicker(10 * time.Millisecond); ; {
			select {
			case <-done:
				tick.Stop()
				return
			case <-tick.C:
				samples++
				activity(ctx, conn, counts)
			}
		}
	}()
	return func() {
		close(done)
		<-ended
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		b.Logger.Info("sessions", "workload", workload, "contender", job.Contender, "mean", shares(counts, samples))
		if statements {
			b.logStatements(ctx, conn, workload, job.Contender)
		}
	}
}

// shares formats the average number of sessions per activity, largest first.
func shares(counts map[string]int, samples int) string {
	var all []string
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return counts[b] - counts[a] })
	for _, what := range names {
		if mean := float64(counts[what]) / float64(max(samples, 1)); mean >= 0.005 {
			all = append(all, fmt.Sprintf("%s %.2f", what, mean))
		}
	}
	return strings.Join(all, ", ")
}

func activity(ctx context.Context, conn *pgx.Conn, counts map[string]int) {
	rows, err := conn.Query(ctx, `
SELECT CASE WHEN backend_type <> 'client backend' THEN backend_type || ' ' ELSE '' END || CASE WHEN state LIKE 'idle%' THEN state ELSE coalesce(wait_event_type || '/' || wait_event, 'CPU') END
FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND wait_event_type IS DISTINCT FROM 'Activity'
  AND (backend_type <> 'client backend' OR datname LIKE 'bench%')`)
	if err != nil {
		return
	}
	var what *string
	_, _ = pgx.ForEachRow(rows, []any{&what}, func() error {
		if what != nil {
			counts[*what]++
		}
		return nil
	})
}

// resetStatements reports whether pg_stat_statements is available.
func resetStatements(ctx context.Context, conn *pgx.Conn) bool {
	if _, err := conn.Exec(ctx, "CREATE EXTENSION IF NOT EXISTS pg_stat_statements"); err != nil {
		return false
	}
	_, err := conn.Exec(ctx, "SELECT pg_stat_statements_reset()")
	return err == nil
}

func (b *bench) logStatements(ctx context.Context, conn *pgx.Conn, workload, contender string) {
	rows, err := conn.Query(ctx, `
SELECT calls, total_exec_time, rows, wal_bytes::bigint, shared_blks_hit + shared_blks_read, left(regexp_replace(query, '\s+', ' ', 'g'), 70)
FROM pg_stat_statements JOIN pg_database ON oid = dbid WHERE datname LIKE 'bench%' ORDER BY total_exec_time DESC LIMIT 12`)
	if err != nil {
		b.Logger.Warn("cannot read pg_stat_statements", "error", err)
		return
	}
	var calls, count, wal, blocks int64
	var total float64
	var query string
	_, err = pgx.ForEachRow(rows, []any{&calls, &total, &count, &wal, &blocks, &query}, func() error {
		b.Logger.Info("statement", "workload", workload, "contender", contender, "calls", calls, "ms", int(total),
			"rows", count, "wal_mib", wal>>20, "blocks", blocks, "query", query)
		return nil
	})
	if err != nil {
		b.Logger.Warn("cannot read pg_stat_statements", "error", err)
	}
}
