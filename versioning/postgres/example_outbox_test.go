package postgres_test

import (
	"context"
	"fmt"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A shouter emits a message with each transition.
var shouter = statemachine.MustCompile(statemachine.Definition{
	Name: "order", Version: 1,
	Transitions: []statemachine.Transition{{Event: "placed", To: "placed", Do: statemachine.Do(func(f *statemachine.Firing, _ *struct{}, _ struct{}) error {
		f.Emit("ledger", "placed "+f.Key)
		return nil
	})}},
	Terminal: statemachine.In("placed"),
})

// openShouter returns a store whose outbox has a message.
func openShouter(ctx context.Context) (store *postgres.Store, closePool func()) {
	pool, closePool := connect(ctx)
	store, err := postgres.Open(ctx, pool, postgres.Table{Machine: shouter, Name: "orders"})
	if err != nil {
		panic(err)
	}
	settle(ctx, store, asked(0, "o1", "placed"))
	return store, closePool
}

// What a relay does: it reads the packs of its lanes, publishes them and deletes them.
func ExampleStore_Packs() {
	ctx := context.Background()
	store, closePool := openShouter(ctx)
	defer closePool()
	fmt.Println("for a relay:", store.Emits())
	depth, err := store.OutboxDepth(ctx)
	fmt.Println(depth.Messages, "message", err)

	lane := versioning.LaneOf(versioning.Entity{Machine: "order", Key: "o1"})
	packs, err := store.Packs(ctx, []versioning.Wanted{{Lane: lane, Bytes: 1 << 20}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, m := range packs[0].Messages {
		fmt.Printf("%s %s %s\n", m.Topic, m.ID(), m.Value)
	}
	if err := store.DeletePacks(ctx, []versioning.PackRef{packs[0].PackRef}, true); err != nil {
		fmt.Println(err)
	}
	n, err := store.DeleteTokens(ctx, lane, []int64{packs[0].Token})
	fmt.Println(n, "deleted", err)
	if _, err := store.TruncateOutbox(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// orders/0@0 applied
	// for a relay: true
	// 1 message <nil>
	// ledger order/o1/1/0 "placed o1"
	// 0 deleted <nil>
}

// A message that the broker refuses for good is kept. Once the cause is fixed, it is sent
// again.
func ExampleStore_Unsent() {
	ctx := context.Background()
	store, closePool := openShouter(ctx)
	defer closePool()
	lane := versioning.LaneOf(versioning.Entity{Machine: "order", Key: "o1"})
	packs, err := store.Packs(ctx, []versioning.Wanted{{Lane: lane}})
	if err != nil {
		fmt.Println(err)
		return
	}
	refused := []versioning.Refused{{Emitted: packs[0].Messages[0], Reason: "MESSAGE_TOO_LARGE", Detail: "it is larger than the topic allows"}}
	if _, _, err := store.RefuseMessages(ctx, packs[0].PackRef, refused, nil); err != nil {
		fmt.Println(err)
		return
	}

	unsent, err := store.Unsent(ctx, postgres.UnsentFilter{Topic: "ledger"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(unsent[0].Emitted.ID(), unsent[0].Reason)
	n, err := store.Resend(ctx, unsent[0].ID)
	fmt.Println(n, "sent again", err)
	// Output:
	// orders/0@0 applied
	// order/o1/1/0 MESSAGE_TOO_LARGE
	// 1 sent again <nil>
}

// A bystander holds lanes and does nothing with them.
type bystander struct{ end context.CancelFunc }

func (b bystander) Connected()  {}
func (b bystander) Take(int)    { b.end() }
func (b bystander) Release(int) {}
func (b bystander) Wake()       {}

// A relay holds lanes until its context is canceled.
func ExampleStore_HoldLanes() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	store, closePool := openShouter(context.Background())
	defer closePool()
	fmt.Println(store.HoldLanes(ctx, bystander{cancel}))
	// Output:
	// orders/0@0 applied
	// <nil>
}
