package expect

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pawl-go/pawl/examples/orderflow/internal/traffic"
)

var (
	applied      = Fate{Kind: Applied}
	duplicate    = Fate{Kind: Duplicate}
	noOrder      = Fate{Parked, "no_entity"}
	notYet       = Fate{Parked, "not_yet"}
	illegal      = Fate{DeadLettered, "illegal"}
	unknownEvent = Fate{DeadLettered, "unknown_event"}
	undecodable  = Fate{DeadLettered, "undecodable"}
	constraint   = Fate{DeadLettered, "constraint"}
)

// say is shorthand for a record about an order.
type say struct {
	id, event string
	want      Fate
	as        func(*traffic.Record)
}

func (s say) record(offset int) traffic.Sent {
	r := traffic.Record{ID: s.id, Message: traffic.Message{Order: "o", Event: s.event, Total: "1.00"}}
	if s.as != nil {
		s.as(&r)
	}
	return traffic.Sent{Record: r, Place: traffic.Place{Offset: int64(offset)}}
}

func TestModel(t *testing.T) {
	const placed, captured, shipped = traffic.Placed, traffic.Captured, traffic.Shipped
	for _, c := range []struct {
		name    string
		records []say
		state   string // empty: no row
		version int64
	}{
		{"no faults", []say{
			{id: "1", event: placed, want: applied},
			{id: "2", event: captured, want: applied},
			{id: "3", event: shipped, want: applied},
			{id: "4", event: traffic.Delivered, want: applied},
		}, "delivered", 4},
		{"redelivered", []say{
			{id: "1", event: placed, want: applied},
			{id: "2", event: captured, want: applied},
			{id: "1", event: placed, want: duplicate},
		}, "paid", 2},
		{"swapped", []say{
			{id: "2", event: captured, want: applied},
			{id: "1", event: placed, want: applied},
		}, "paid", 2},
		{"all in reverse order", []say{
			{id: "4", event: traffic.Delivered, want: applied},
			{id: "3", event: shipped, want: applied},
			{id: "2", event: captured, want: applied},
			{id: "1", event: placed, want: applied},
		}, "delivered", 4},
		{"redelivered while parked: the first one is applied", []say{
			{id: "2", event: captured, want: applied},
			{id: "2", event: captured, want: duplicate},
			{id: "1", event: placed, want: applied},
		}, "paid", 2},
		{"payment after cancellation, twice", []say{
			{id: "1", event: placed, want: applied},
			{id: "2", event: traffic.Cancelled, want: applied},
			{id: "3", event: captured, want: illegal},
			{id: "3", event: captured, want: illegal},
		}, "cancelled", 2},
		{"parked, then rejected", []say{
			{id: "2", event: traffic.Cancelled, want: applied},
			{id: "3", event: captured, want: illegal},
			{id: "1", event: placed, want: applied},
		}, "cancelled", 2},
		{"shipped twice, by two messages", []say{
			{id: "1", event: placed, want: applied},
			{id: "2", event: captured, want: applied},
			{id: "3", event: shipped, want: applied},
			{id: "4", event: shipped, want: illegal},
		}, "shipped", 3},
		{"never placed", []say{
			{id: "2", event: captured, want: noOrder},
			{id: "3", event: shipped, want: noOrder},
		}, "", 0},
		{"never paid", []say{
			{id: "1", event: placed, want: applied},
			{id: "3", event: shipped, want: notYet},
		}, "pending", 1},
		{"rejected by the table", []say{
			{id: "1", event: placed, want: constraint, as: func(r *traffic.Record) { r.Message.Total = "-1.00" }},
			{id: "2", event: captured, want: noOrder},
		}, "", 0},
		{"garbage", []say{
			{id: "1", event: placed, want: applied},
			{id: "2", event: captured, want: undecodable, as: func(r *traffic.Record) { r.Damage = traffic.CutOff }},
			{id: "3", event: captured, want: undecodable, as: func(r *traffic.Record) { r.Damage = traffic.Emptied }},
			{id: "4", event: "order.teleported", want: unknownEvent},
		}, "pending", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var records []traffic.Sent
			want := make(map[traffic.Place]Fate)
			for i, s := range c.records {
				records = append(records, s.record(i))
				want[records[i].Place] = s.want
			}
			got := Of(records)
			if diff := cmp.Diff(want, got.Fates); diff != "" {
				t.Errorf("fates differ (-want +got):\n%s", diff)
			}
			if o := got.Orders["o"]; o.State != c.state || o.Version != c.version {
				t.Errorf("the order is %+v, want state %q, version %d", o, c.state, c.version)
			}
		})
	}
}

// fateOf lists, for each fault alone, which fates besides Applied the records
// of its order must have and which they may have.
var fateOf = map[string]struct {
	must []Fate
	may  []Fate
}{
	"payment after cancellation":     {must: []Fate{illegal}},
	"delivery after cancellation":    {must: []Fate{illegal}},
	"shipped twice, by two messages": {must: []Fate{illegal}},
	"never placed":                   {must: []Fate{noOrder}},
	"never paid":                     {must: []Fate{notYet}},
	"a negative total":               {must: []Fate{constraint}, may: []Fate{noOrder}},
	"an unknown event":               {must: []Fate{unknownEvent}},
	"truncated JSON":                 {must: []Fate{undecodable}},
	"a tombstone":                    {must: []Fate{undecodable}},
	"neighbors swapped":              {may: []Fate{illegal}}, // a cancellation may overtake the payment
	"sent twice in a row":            {must: []Fate{duplicate}},
	"redelivered later":              {must: []Fate{duplicate}},
}

// TestFaults checks the result of each fault. In every traffic, the first
// orders have one fault each, in the order of traffic.Faults.
func TestFaults(t *testing.T) {
	for seed := range uint64(50) {
		made := traffic.Generate(traffic.Plan{Orders: len(traffic.Faults), Seed: seed, Prefix: "p"})
		records := make([]traffic.Sent, len(made.Records))
		for i, r := range made.Records {
			records[i] = traffic.Sent{Record: r, Place: traffic.Place{Offset: int64(i)}}
		}
		fates := Of(records).Fates
		for n, f := range traffic.Faults {
			allowed := fateOf[f.Name]
			seen := make(map[Fate]bool)
			for _, r := range records {
				if r.Message.Order == fmt.Sprintf("p-%06d", n) {
					seen[fates[r.Place]] = true
				}
			}
			for _, must := range allowed.must {
				if !seen[must] {
					t.Errorf("seed %d: fault %q: no record is %v: %v", seed, f.Name, must, seen)
				}
				delete(seen, must)
			}
			for _, may := range append(allowed.may, applied) {
				delete(seen, may)
			}
			if len(seen) > 0 {
				t.Errorf("seed %d: fault %q: records are %v", seed, f.Name, seen)
			}
		}
	}
}

// TestPartitionsDoNotMatter checks that an order's fate depends only on the
// order of its own records.
func TestPartitionsDoNotMatter(t *testing.T) {
	made := traffic.Generate(traffic.Plan{Orders: 300, Seed: 5, Prefix: "p"})
	var want map[Fate]int
	for _, partitions := range []int32{1, 3, 7} {
		ends := make(map[int32]int64)
		var records []traffic.Sent
		for _, r := range made.Records {
			p := int32(r.Message.Order[len(r.Message.Order)-1]) % partitions
			records = append(records, traffic.Sent{Record: r, Place: traffic.Place{Partition: p, Offset: ends[p]}})
			ends[p]++
		}
		got := make(map[Fate]int)
		for _, fate := range Of(records).Fates {
			got[fate]++
		}
		if want == nil {
			want = got
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d partitions: fates differ (-want +got):\n%s", partitions, diff)
		}
	}
}
