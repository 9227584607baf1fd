package expect

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

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
	const placed, shipped, cancelled = traffic.Placed, traffic.Shipped, traffic.Cancelled
	for _, c := range []struct {
		name    string
		records []say
		heard   []Heard
		state   string // empty: no row
		version int64
	}{
		{"no faults", []say{
			{id: "1", event: placed, want: applied},
			{id: "3", event: shipped, want: applied},
			{id: "4", event: traffic.Delivered, want: applied},
		}, []Heard{{captured, 2}}, "delivered", 4},
		{"redelivered", []say{
			{id: "1", event: placed, want: applied},
			{id: "1", event: placed, want: duplicate},
		}, []Heard{{captured, 2}}, "paid", 2},
		{"swapped", []say{
			{id: "2", event: shipped, want: applied},
			{id: "1", event: placed, want: applied},
		}, []Heard{{captured, 2}}, "shipped", 3},
		{"all in reverse order", []say{
			{id: "4", event: traffic.Delivered, want: applied},
			{id: "3", event: shipped, want: applied},
			{id: "1", event: placed, want: applied},
		}, []Heard{{captured, 2}}, "delivered", 4},
		{"redelivered while parked: the first one is applied", []say{
			{id: "2", event: shipped, want: applied},
			{id: "2", event: shipped, want: duplicate},
			{id: "1", event: placed, want: applied},
		}, []Heard{{captured, 2}}, "shipped", 3},
		{"cancelled, then captured and refunded", []say{
			{id: "1", event: placed, want: applied},
			{id: "2", event: cancelled, want: applied},
		}, []Heard{{captured, 3}, {refunded, 4}}, "cancelled", 4},
		{"captured, then cancelled and refunded", []say{
			{id: "1", event: placed, want: applied},
			{id: "2", event: cancelled, want: applied},
		}, []Heard{{captured, 2}, {refunded, 4}}, "cancelled", 4},
		{"cancelled, then declined", []say{
			{id: "1", event: placed, want: applied},
			{id: "2", event: cancelled, want: applied},
			{id: "3", event: traffic.Retried, want: illegal},
		}, []Heard{{declined, 3}}, "cancelled", 3},
		{"delivered after cancellation, twice", []say{
			{id: "1", event: placed, want: applied},
			{id: "2", event: cancelled, want: applied},
			{id: "3", event: traffic.Delivered, want: illegal},
			{id: "3", event: traffic.Delivered, want: illegal},
		}, nil, "cancelling", 2},
		{"parked, then rejected", []say{
			{id: "2", event: cancelled, want: applied},
			{id: "3", event: traffic.Delivered, want: illegal},
			{id: "1", event: placed, want: applied},
		}, nil, "cancelling", 2},
		{"shipped twice, by two messages", []say{
			{id: "1", event: placed, want: applied},
			{id: "3", event: shipped, want: applied},
			{id: "4", event: shipped, want: illegal},
		}, []Heard{{captured, 2}}, "shipped", 3},
		{"declined, and another card", []say{
			{id: "1", event: placed, want: applied},
			{id: "2", event: traffic.Retried, want: applied},
			{id: "3", event: shipped, want: applied},
		}, []Heard{{declined, 2}, {captured, 4}}, "shipped", 5},
		{"another card, too late", []say{
			{id: "1", event: placed, want: applied},
			{id: "2", event: traffic.Retried, want: illegal},
			{id: "3", event: shipped, want: illegal},
		}, []Heard{{declined, 2}, {expired, 3}}, "expired", 3},
		{"never placed", []say{
			{id: "2", event: shipped, want: noOrder},
			{id: "3", event: traffic.Delivered, want: noOrder},
		}, nil, "", 0},
		{"not paid yet", []say{
			{id: "1", event: placed, want: applied},
			{id: "3", event: shipped, want: notYet},
		}, nil, "pending", 1},
		{"heard what it can't hear", []say{
			{id: "1", event: placed, want: applied},
		}, []Heard{{refunded, 2}}, "pending", 1},
		{"rejected by the table", []say{
			{id: "1", event: placed, want: constraint, as: func(r *traffic.Record) { r.Message.Total = "-1.00" }},
			{id: "2", event: shipped, want: noOrder},
		}, nil, "", 0},
		{"garbage", []say{
			{id: "1", event: placed, want: applied},
			{id: "2", event: shipped, want: undecodable, as: func(r *traffic.Record) { r.Damage = traffic.CutOff }},
			{id: "3", event: shipped, want: undecodable, as: func(r *traffic.Record) { r.Damage = traffic.Emptied }},
			{id: "4", event: "order.teleported", want: unknownEvent},
			{id: "5", event: traffic.Claimed, want: unknownEvent},
		}, nil, "pending", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var records []traffic.Sent
			want := make(map[traffic.Place]Fate)
			for i, s := range c.records {
				records = append(records, s.record(i))
				want[records[i].Place] = s.want
			}
			got := Of(records, map[string][]Heard{"o": c.heard})
			if diff := cmp.Diff(want, got.Fates); diff != "" {
				t.Errorf("fates differ (-want +got):\n%s", diff)
			}
			if o := got.Orders["o"]; o.State != c.state || o.Version != c.version {
				t.Errorf("the order is %+v, want state %q, version %d", o, c.state, c.version)
			}
		})
	}
}

// TestCharges checks what the model expects of the provider.
func TestCharges(t *testing.T) {
	card := func(number string) func(*traffic.Record) {
		return func(r *traffic.Record) { r.Message.Card = number }
	}
	var records []traffic.Sent
	for i, s := range []say{
		{id: "1", event: traffic.Placed, as: card("bad")},
		{id: "2", event: traffic.Retried, as: card("good")},
		{id: "3", event: traffic.Cancelled},
	} {
		records = append(records, s.record(i))
	}
	got := Of(records, map[string][]Heard{"o": {{declined, 2}, {captured, 4}, {refunded, 6}}})
	want := []Charge{{Order: "o", Amount: "1.00", Card: "bad"}, {Order: "o", Amount: "1.00", Card: "good", Captured: true, Refunded: true}}
	if diff := cmp.Diff(want, got.Charges); diff != "" {
		t.Errorf("charges differ (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Payment{State: "refunded", Version: 5, Amount: "1.00", Card: "good"}, got.Payments["o"]); diff != "" {
		t.Errorf("the payment differs (-want +got):\n%s", diff)
	}
}

// hears returns what the orders hear if the provider answers after each of these records, or
// only when all have arrived. Timers are due in the end.
func hears(records []traffic.Sent, promptly bool) map[string][]Heard {
	byOrder := make(map[string][]traffic.Sent)
	for _, r := range records {
		byOrder[r.Message.Order] = append(byOrder[r.Message.Order], r)
	}
	heard := make(map[string][]Heard)
	for key, all := range byOrder {
		for n := range all {
			if last := n == len(all)-1; promptly || last {
				hearNext(all[:n+1], heard, key, last)
			}
		}
	}
	return heard
}

// hearNext adds what an order hears before more records arrive.
func hearNext(records []traffic.Sent, heard map[string][]Heard, key string, due bool) {
	for {
		got := Of(records, heard)
		o := got.Orders[key]
		var event string
		switch {
		case (o.State == "pending" || o.State == "cancelling") && got.Payments[key].Card == traffic.DeclinedCard:
			event = declined
		case o.State == "pending" || o.State == "cancelling":
			event = captured
		case o.State == "refunding":
			event = refunded
		case o.State == "unpaid" && due:
			event = expired
		default:
			return
		}
		heard[key] = append(heard[key], Heard{event, o.Version + 1})
	}
}

// TestTimeOfAnswersDoesNotMatter checks that the traffic of the demo has the same end whenever
// the provider answers.
func TestTimeOfAnswersDoesNotMatter(t *testing.T) {
	made := traffic.Generate(traffic.Plan{Orders: 1000, Seed: 3, Prefix: "p"})
	records := make([]traffic.Sent, len(made.Records))
	for i, r := range made.Records {
		records[i] = traffic.Sent{Record: r, Place: traffic.Place{Offset: int64(i)}}
	}
	if diff := cmp.Diff(Of(records, hears(records, true)), Of(records, hears(records, false)), byOrder); diff != "" {
		t.Errorf("the time of the answers matters (-prompt +late):\n%s", diff)
	}
}

// byOrder ignores the order of charges of different orders.
var byOrder = cmpopts.SortSlices(func(a, b Charge) bool { return a.Order+a.Card < b.Order+b.Card })

// fateOf lists, for each fault alone, which fates besides Applied the records
// of its order must have and which they may have.
var fateOf = map[string]struct {
	must []Fate
	may  []Fate
}{
	"a payment that is only claimed": {must: []Fate{unknownEvent, illegal}},
	"delivery after cancellation":    {must: []Fate{illegal}},
	"shipped twice, by two messages": {must: []Fate{illegal}},
	"never placed":                   {must: []Fate{noOrder}},
	"shipped although never paid":    {must: []Fate{illegal}},
	"a negative total":               {must: []Fate{constraint}, may: []Fate{noOrder}},
	"an unknown event":               {must: []Fate{unknownEvent}},
	"truncated JSON":                 {must: []Fate{undecodable}},
	"a tombstone":                    {must: []Fate{undecodable}},
	"neighbors swapped":              {},
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
		fates := Of(records, hears(records, false)).Fates
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
		for _, fate := range Of(records, hears(records, false)).Fates {
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
