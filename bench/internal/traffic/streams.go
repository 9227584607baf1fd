package traffic

import (
	"fmt"
	"iter"
	"math/rand/v2"

	"github.com/pawl-go/pawl/internal/banklog"
	"github.com/pawl-go/pawl/statemachine"
)

// An Event is one thing that happened to one entity.
type Event struct {
	Key  string
	Name statemachine.Event
	ID   string // unique message ID

	// For machines with columns: what the event adds to its column, and the sum in the
	// column after it.
	Amount, After int64
}

// BankName is the name of the machine derived from the bank's log.
const BankName = "bank"

// window returns how many of n entities are open at a time: a fifth. An
// entity's events are spread over the time in which a fifth of all entities
// come and go, so that even a worker with batches of thousands of records
// seldom sees all events of an entity in one batch.
func window(n int) int { return max(1, n/5) }

// NewOrders generates orders with four events each. run makes the keys and IDs
// unique among runs.
func NewOrders(run string, orders int) iter.Seq[Event] {
	return rolling(orders, func(i int) entity {
		return entity{key: fmt.Sprintf("ord-%s-%07d", run, i), events: orderEvents}
	})
}

// An entity is a key and its future events.
type entity struct {
	key     string
	events  []statemachine.Event
	amounts []int64 // of the events, or nil
	next    int
	sums    Sums
}

func (e *entity) step() Event {
	event := Event{Key: e.key, Name: e.events[e.next], ID: messageID(e.key, e.next)}
	if e.amounts != nil {
		event.Amount = e.amounts[e.next]
		event.After = e.sums.Add(event.Name, event.Amount)
	}
	e.next++
	return event
}

// rolling generates the events of n entities: it picks a random open entity for
// the next event, and replaces an entity that is done with a new one.
func rolling(n int, begin func(i int) entity) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		random := rand.New(rand.NewPCG(1, uint64(n)))
		var under []entity
		for next := 0; next < n || len(under) > 0; {
			for len(under) < window(n) && next < n {
				under = append(under, begin(next))
				next++
			}
			i := random.IntN(len(under))
			if !yield(under[i].step()) {
				return
			}
			if under[i].next == len(under[i].events) {
				under[i] = under[len(under)-1]
				under = under[:len(under)-1]
			}
		}
	}
}

// HotKeys generates accounts of which one in a hundred gets half of all
// records.
func HotKeys(run string, accounts, records int) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		random := rand.New(rand.NewPCG(2, uint64(records)))
		hot := max(1, accounts/100)
		counts := make([]int, accounts)
		for range records {
			i := random.IntN(hot)
			if random.IntN(2) == 0 {
				i = hot + random.IntN(accounts-hot)
			}
			if !yield(accountEvent(fmt.Sprintf("acc-%s-%07d", run, i), counts[i])) {
				return
			}
			counts[i]++
		}
	}
}

func accountEvent(key string, n int) Event {
	name := accountChanged
	if n == 0 {
		name = accountOpened
	}
	return Event{Key: key, Name: name, ID: messageID(key, n)}
}

// OldEvents is the number of events of each account of [OldAccounts].
const OldEvents = 4

// OldAccounts generates the accounts from first to last, one after another,
// with OldEvents events each.
func OldAccounts(first, last int) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		for i := first; i < last; i++ {
			for n := range OldEvents {
				if !yield(accountEvent(oldAccount(i), n)) {
					return
				}
			}
		}
	}
}

func oldAccount(i int) string { return fmt.Sprintf("acc-old-%07d", i) }

// Growth generates half changes of random old accounts, and half new accounts
// with four events each.
func Growth(run string, old, records int) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		random := rand.New(rand.NewPCG(3, uint64(old)))
		fresh := rolling(records/2/OldEvents, func(i int) entity {
			return entity{
				key:    fmt.Sprintf("acc-%s-%07d", run, i),
				events: []statemachine.Event{accountOpened, accountChanged, accountChanged, accountChanged},
			}
		})
		n := 0
		for event := range fresh {
			key := oldAccount(random.IntN(old))
			if !yield(event) || !yield(Event{Key: key, Name: accountChanged, ID: messageID(run+key, n)}) {
				return
			}
			n++
		}
	}
}

// Bank replays a bank's event log, with its cases interleaved.
func Bank(log *banklog.Log) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		const lanes = 16 // of a hundred cases each
		traffic := log.Traffic(1, lanes, banklog.Faults{})
		for i, more := 0, true; more; i++ {
			more = false
			for _, lane := range traffic {
				if i >= len(lane) {
					continue
				}
				more = true
				if !yield(Event{Key: lane[i].Case, Name: lane[i].Event, ID: lane[i].ID}) {
					return
				}
			}
		}
	}
}
