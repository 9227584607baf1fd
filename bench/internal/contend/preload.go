package contend

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/pawl-go/pawl/bench/internal/traffic"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// Preload fills the tables with old accounts, using the store.
func Preload(ctx context.Context, url string, accounts int) error {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return fmt.Errorf("database URL: %w", err)
	}
	config.MaxConns = connections
	config.ConnConfig.RuntimeParams["synchronous_commit"] = "off" // data lost in a crash is created again
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer pool.Close()
	store, err := postgres.Open(ctx, pool, postgres.Table{Machine: traffic.Account, Name: table})
	if err != nil {
		return err
	}
	const part = 2000
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(connections)
	for first := 0; first < accounts && ctx.Err() == nil; first += part {
		last := min(first+part, accounts)
		group.Go(func() error {
			_, err := store.Apply(ctx, "", oldRecords(store, first, last))
			return err
		})
	}
	return group.Wait()
}

func oldRecords(store *postgres.Store, first, last int) []*versioning.Record {
	var records []*versioning.Record
	for event := range traffic.OldAccounts(first, last) {
		r := &versioning.Record{
			Origin:  versioning.Origin{Topic: "old", TopicID: [16]byte{1}, Offset: int64(first*traffic.OldEvents + len(records))},
			Changes: []versioning.Change{{Key: event.Key, Event: event.Name, MessageID: event.ID}},
		}
		if creates(event.Name) {
			r.Changes[0].Set = versioning.Columns{"customer": "customer-old", "total": "129.90"}
		}
		store.Prepare(r)
		records = append(records, r)
	}
	return records
}
