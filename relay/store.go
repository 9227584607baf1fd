package relay

import (
	"context"

	"github.com/pawl-go/pawl/versioning"
)

// Store is the database whose outbox a relay empties. *postgres.Store is one. It must be safe
// for concurrent use.
type Store interface {
	// HoldLanes holds lanes for the holder until ctx is canceled, and returns nil. If it
	// returns an error, others may already hold the lanes.
	HoldLanes(ctx context.Context, h versioning.LaneHolder) error

	// Packs returns the first packs of lanes, in their order. If some can't be read because
	// their data are damaged, it returns those before them and those of other lanes, and an
	// error with the cause [versioning.Data].
	Packs(ctx context.Context, want []versioning.Wanted) ([]versioning.Pack, error)

	// DeletePacks deletes packs that are published. Unless it is durable, the database may
	// lose the deletion if it crashes soon after. A durable deletion includes what
	// RefuseMessages has left of a pack.
	DeletePacks(ctx context.Context, packs []versioning.PackRef, durable bool) error

	// DeleteTokens deletes the packs of a lane that have one of the tokens, and what
	// RefuseMessages has left of such packs, durably.
	DeleteTokens(ctx context.Context, lane int, tokens []int64) (int, error)

	// RefuseMessages makes messages of a pack unsent messages, and leaves the rest of the pack
	// in its place, as the pack that it returns. If the pack no longer exists, it does
	// nothing, and ok is false.
	RefuseMessages(ctx context.Context, pack versioning.PackRef, refused []versioning.Refused, rest []versioning.Emitted) (left versioning.Pack, ok bool, err error)

	// TruncateOutbox frees the space of deleted packs.
	TruncateOutbox(ctx context.Context) (int, error)
}
