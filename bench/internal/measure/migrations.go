package measure

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/bench/internal/contend"
	"github.com/pawl-go/pawl/bench/internal/traffic"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// migrations measures a worker that applies a backlog, beside many old rows in a retired state:
// while Migrate moves these out of it, and while it does not.
func migrations(ctx context.Context, b *bench) error {
	in, err := b.produce(ctx, "migrate", traffic.Retiring.Name(), traffic.NewOrders(b.run, b.orders), 0)
	if err != nil {
		return err
	}
	return b.inDatabase(ctx, "migrate", nil, func(url, database string) error {
		return b.byTurns([]string{contend.Pawl, contend.WithoutMigrate}, func(_ int, contender string) error {
			fill := fmt.Sprintf(`INSERT INTO orders SELECT 'old-' || to_char(n, 'FM00000000'), 'waiting', 1 FROM generate_series(1, %d) AS n`, b.retired)
			if err := errors.Join(b.server.empty(ctx, database, nil), b.server.in(ctx, database, fill, "VACUUM ANALYZE")); err != nil {
				return err
			}
			stop := func() (int64, error) { return 0, nil }
			if contender == contend.Pawl {
				if stop, err = startMigrate(ctx, url); err != nil {
					return err
				}
			}
			began := time.Now()
			result, err := b.measured(ctx, "migrate", b.job("migrate", contender, in, url), database, true)
			moved, migrateErr := stop()
			if err := errors.Join(err, migrateErr); err != nil {
				return err
			}
			b.Logger.Info("migrated", "rows", moved, "per_second", int(float64(moved)/time.Since(began).Seconds()))
			if moved >= int64(b.retired) {
				return errors.New("the migration has ended before the worker; use more rows")
			}
			b.results.AddRate("migrate", contender, result.Rate())
			return nil
		})
	})
}

// startMigrate starts to migrate, and returns when the first rows are migrated. stop ends it, and
// returns how many rows it has migrated.
func startMigrate(ctx context.Context, url string) (stop func() (int64, error), err error) {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	store, err := postgres.Open(ctx, pool, postgres.Table{Machine: traffic.Retiring, Name: "orders"})
	if err != nil {
		pool.Close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	began, ended := make(chan struct{}, 1), make(chan struct{})
	var done postgres.Migrated
	go func() {
		defer close(ended)
		done, err = store.Migrate(ctx, postgres.Migration{Progress: func(postgres.Migrated) {
			select {
			case began <- struct{}{}:
			default:
			}
		}})
	}()
	select {
	case <-began:
	case <-ended:
	}
	return func() (int64, error) {
		cancel()
		<-ended
		pool.Close()
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		return done.Moved, err
	}, nil
}
