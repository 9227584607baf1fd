package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/jobs"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testPartitions = 3

// played is traffic applied to an in-memory store without faults.
type played struct {
	ledger *ledger
	lanes  [][]*versioning.Record
	store  *versioningtest.Memory
	writes map[string]int64 // of others, by wallet
	now    time.Time
	made   map[string][]time.Time // when the steps of a ticket were made
	worked int                    // jobs
	book   accountsOf             // of the provider
}

// play produces messages and applies them in batches of random sizes from
// random partitions.
func play(t testing.TB, seed uint64, messages int) *played {
	t.Helper()
	p := &played{ledger: newLedger(), lanes: make([][]*versioning.Record, testPartitions), writes: make(map[string]int64), now: time.Unix(1_800_000_000, 0), made: make(map[string][]time.Time)}
	var rules []versioning.Rules
	for _, table := range tablesIn("torture") {
		rules = append(rules, versioning.Rules{Machine: table.Machine, MaxParked: table.MaxParked, CheckJob: func(any) error { return nil }})
	}
	p.store = versioningtest.NewMemory(rules...)
	p.store.SetClock(func() time.Time { return p.now })

	traffic := newTraffic(seed, testPartitions, p.ledger)
	p.produce(t, traffic.open())
	for range messages {
		p.produce(t, traffic.next())
	}
	p.produce(t, traffic.rest())

	random := rand.New(rand.NewPCG(seed, 2))
	p.store.Between(func(context.Context, *versioning.Plan) error {
		p.foreignWrite(wallet(random.IntN(testPartitions), random.IntN(walletsEach)))
		return nil
	})
	for left := slices.Clone(p.lanes); ; {
		lane := random.IntN(testPartitions)
		n := min(len(left[lane]), 1+random.IntN(50))
		if _, err := p.store.Apply(t.Context(), "", left[lane][:n]); err != nil {
			t.Fatal(err)
		}
		left[lane] = left[lane][n:]
		p.pass(t, time.Duration(random.IntN(200))*time.Millisecond)
		if !slices.ContainsFunc(left, func(l []*versioning.Record) bool { return len(l) > 0 }) {
			p.pass(t, ticketLife)
			return p
		}
	}
}

// pass notes which steps were made, lets time pass and fires what is due then.
func (p *played) pass(t testing.TB, d time.Duration) {
	t.Helper()
	p.note()
	p.now = p.now.Add(d)
	for more := true; more; {
		fired, err := p.store.FireTimers(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		more = fired.More
	}
	p.note()
	p.work(t)
}

// work does all jobs, and those that their answers cause.
func (p *played) work(t testing.TB) {
	t.Helper()
	for all := p.store.Jobs(); p.worked < len(all); all = p.store.Jobs() {
		job := all[p.worked]
		p.worked++
		a := asked{Key: jobs.KeyOf(job.Entity.Machine, job.Entity.Key, job.Version, 0), Entity: job.Entity.Key}
		switch args := job.Job.(type) {
		case charge:
			a.Kind, a.Amount = args.Kind(), args.Amount
		case fee:
			a.Kind, a.Amount = args.Kind(), args.Amount
		}
		if !p.book.take(a) {
			t.Fatalf("the provider does not take %+v", a)
		}
		answer := resultOf(job.Version, a.Amount, receiptOf(a.Key))
		answer.Machine, answer.Key, answer.MessageID = job.Entity.Machine, job.Entity.Key, "pawl.job/"+a.Key
		if o, err := p.store.Do(t.Context(), answer); err != nil || o.Verdict != versioning.Applied {
			t.Fatalf("%v, %v", o, err)
		}
	}
}

func (p *played) note() {
	for e, r := range p.store.Rows() {
		for e.Machine == "ticket" && int64(len(p.made[e.Key])) < r.Version {
			p.made[e.Key] = append(p.made[e.Key], p.now)
		}
	}
}

func (p *played) foreignWrite(key string) {
	see := func(row *versioningtest.Row) {
		for _, column := range []string{"seen", "visits"} {
			n, _ := row.Columns[column].(int64)
			row.Columns[column] = n + 1
		}
	}
	if p.store.Update(versioning.Entity{Machine: "wallet", Key: key}, see) {
		p.writes[key]++
	}
}

func (p *played) produce(t testing.TB, all []sending) {
	t.Helper()
	for _, s := range all {
		record, err := s.record()
		if err != nil {
			t.Fatal(err)
		}
		at := place{record.Partition, int64(len(p.lanes[record.Partition]))}
		p.ledger.add(s, at, nil)
		r := &versioning.Record{Origin: versioning.Origin{Topic: "accounts", Partition: at.partition, Offset: at.offset}, Value: record.Value}
		r.Decode(decode)
		for i := range r.Changes {
			r.Changes[i].MessageID = s.id
		}
		if s.body.Amount < 0 { // as the trigger does
			r.Err = cmp.Or(r.Err, error(&versioning.Refusal{Reason: versioning.ReasonConstraint, Err: errors.New("a negative amount")}))
		}
		p.store.Prepare(r)
		p.lanes[at.partition] = append(p.lanes[at.partition], r)
	}
}

// evidence returns what a database would contain.
func (p *played) evidence() (e evidence) {
	for entity, r := range p.store.Rows() {
		e.rows = append(e.rows, row{entity.Machine, entity.Key, r.State, r.Version})
		if entity.Machine == "wallet" {
			purse := purseRow{ID: entity.Key, State: r.State, Writes: p.writes[entity.Key]}
			purse.Balance, _ = r.Columns["balance"].(int64)
			purse.Seen, _ = r.Columns["seen"].(int64)
			purse.Visits, _ = r.Columns["visits"].(int64)
			e.wallets.purses = append(e.wallets.purses, purse)
		}
		if entity.Machine == "bill" {
			id, _ := r.Columns["receipt"].(string)
			e.bills.receipts = append(e.bills.receipts, billReceipt{entity.Key, id})
		}
		for _, s := range p.store.History(entity) {
			made := step{entity.Machine, entity.Key, s.Version, s.Event, s.From, s.To, s.MessageID, s.Origin.Partition, s.Origin.Offset, p.now}
			if entity.Machine == "ticket" {
				made.At = p.made[entity.Key][s.Version-1]
			}
			e.steps = append(e.steps, made)
			if entity.Machine == "account" || entity.Machine == "transfer" {
				e.seen = append(e.seen, sight{entity.Machine, entity.Key, s.To, s.Version})
			}
		}
	}
	slices.SortFunc(e.steps, func(a, b step) int {
		return cmp.Or(cmp.Compare(a.Machine, b.Machine), cmp.Compare(a.Entity, b.Entity), cmp.Compare(a.Version, b.Version))
	})
	e.bills.accountsOf = p.book
	e.bills.deals = slices.Clone(p.book.deals)
	for _, m := range p.store.Messages() {
		sent := sentMessage{id: fmt.Sprint(m.Entity, m.Version, m.Index), source: "pawl"}
		if err := json.Unmarshal(m.Value, &sent.announcement); err != nil {
			panic(err)
		}
		e.sent = append(e.sent, sent)
	}
	for _, r := range p.store.Parked() {
		e.parked = append(e.parked, place{r.Origin.Partition, r.Origin.Offset})
		if r.Entity.Machine == "wallet" {
			e.wallets.waits = append(e.wallets.waits, keptRecord{r.Origin.Partition, r.Origin.Offset, r.Entity.Key, r.Reason, ""})
		}
	}
	for _, r := range p.store.DeadLetters() {
		e.dead = append(e.dead, place{r.Origin.Partition, r.Origin.Offset})
		if o := r.Outcome; o.Entity.Machine == "wallet" {
			e.wallets.dead = append(e.wallets.dead, keptRecord{r.Origin.Partition, r.Origin.Offset, o.Entity.Key, o.Reason, o.Detail})
		}
	}
	return e
}

// TestFates checks that every message gets its fate, whatever the order in
// which the partitions are read.
func TestFates(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		p := play(t, rapid.Uint64().Draw(r, "seed"), rapid.IntRange(0, 2000).Draw(r, "messages"))
		j := judge(p.ledger, p.evidence())
		if len(j.messages) > 0 || j.outputs.Repeated+j.outputs.Phantoms > 0 {
			r.Fatalf("lost %d, applied twice %d, wrong %d, wallets %+v: %q", j.lost, j.twice, j.wrong, j.tally, j.messages)
		}
	})
}

// TestTrafficIsRich checks that the traffic has some of everything.
func TestTrafficIsRich(t *testing.T) {
	p := play(t, 1, 20000)
	fates, ids, again, whole := make(map[fate]int), make(map[string]bool), 0, 0
	for _, r := range p.ledger.entries {
		fates[r.fate]++
		if ids[r.id] {
			again++
		}
		ids[r.id] = true
		whole += entities(r.body) / 3
	}
	closings, refused := 0, 0
	for _, r := range p.ledger.entries {
		if r.body.Amount < 0 {
			refused++
		}
	}
	for _, a := range p.ledger.accounts {
		if a.state == closed {
			closings++
		}
	}
	j := judge(p.ledger, p.evidence())
	tally := j.tally
	for what, n := range map[string]int{
		"accepted between wallets": tally.Accepted, "refused between wallets": tally.Refused,
		"waiting between wallets": tally.Waiting, "writes of others": tally.ForeignWrites,
		"applied": fates[applied], "parked": fates[parked], "dead": fates[dead], "refused": refused, "sent again": again,
		"transfers": whole, "closed": closings, "messages": j.outputs.Messages, "expired": j.outputs.Expired, "about tickets": fates[timed],
		"charges": j.charges.Asked, "declined": j.charges.Declined,
	} {
		if n < 10 {
			t.Errorf("%s: %d of 20,000 messages", what, n)
		}
	}
}

// TestJudge checks that judge detects each kind of violation.
func TestJudge(t *testing.T) {
	p := play(t, 7, 3000)
	first := func(f fate) place {
		return p.ledger.entries[slices.IndexFunc(p.ledger.entries, func(r entry) bool { return r.fate == f })].at
	}
	end := func(e *evidence) int { // of the steps of transfers
		return slices.IndexFunc(e.steps, func(s step) bool { return s.Machine == "wallet" })
	}
	last := func(e *evidence) step { return e.steps[end(e)-1] }
	tests := []struct {
		name string
		do   func(*evidence)
		want func(*judgement) int
	}{
		{"a step is missing", func(e *evidence) { e.steps = slices.Delete(e.steps, end(e)-1, end(e)) }, lost},
		{"a row is behind", func(e *evidence) {
			i := slices.IndexFunc(e.rows, func(r row) bool { return r.Machine == "account" && r.Version > 1 })
			e.rows[i].Version--
		}, lost},
		{"a row is ahead", func(e *evidence) {
			e.rows[slices.IndexFunc(e.rows, func(r row) bool { return r.Machine == "account" })].Version++
		}, twice},
		{"a row is in another state", func(e *evidence) { e.rows[0].State = "somewhere" }, wrong},
		{"a row has no history", func(e *evidence) { e.rows = append(e.rows, row{"account", "ghost", active, 1}) }, wrong},
		{"a row is gone", func(e *evidence) { e.rows = e.rows[1:] }, wrong},
		{"a message moved an entity twice", func(e *evidence) {
			i := slices.IndexFunc(e.steps, func(s step) bool { return s.Version == 2 })
			e.steps[i].MessageID = e.steps[i-1].MessageID
		}, twice},
		{"a version is missing", func(e *evidence) {
			i := slices.IndexFunc(e.steps, func(s step) bool { return s.Version == 2 })
			e.steps[i].Version = 3
		}, wrong},
		{"the trigger did not see a step", func(e *evidence) { e.seen = e.seen[1:] }, wrong},
		{"the trigger saw a step twice", func(e *evidence) { e.seen = append(e.seen, e.seen[0]) }, wrong},
		{"the trigger saw another state", func(e *evidence) { e.seen[0].State = "somewhere" }, wrong},
		{"a step is not legal", func(e *evidence) { e.steps[0].Event = thawed }, wrong},
		{"a parked record is missing", func(e *evidence) { e.parked = without(e.parked, first(parked)) }, lost},
		{"a dead letter is missing", func(e *evidence) { e.dead = without(e.dead, first(dead)) }, lost},
		{"a dead letter about a ticket is missing", func(e *evidence) {
			e.dead = without(e.dead, timedAnd(p, e.dead))
		}, lost},
		{"a dead letter exists twice", func(e *evidence) { e.dead = append(e.dead, first(dead)) }, wrong},
		{"a dead letter is parked too", func(e *evidence) { e.parked = append(e.parked, first(dead)) }, wrong},
		{"a parked record is dead too", func(e *evidence) { e.dead = append(e.dead, first(parked)) }, wrong},
		{"an applied record is parked too", func(e *evidence) {
			e.parked = append(e.parked, place{last(e).Partition, last(e).Offset})
		}, wrong},
		{"an unknown record is parked", func(e *evidence) { e.parked = append(e.parked, place{99, 99}) }, wrong},
		{"an unknown record is dead", func(e *evidence) { e.dead = append(e.dead, place{99, 99}) }, wrong},
		{"a transfer moved one of three entities", func(e *evidence) {
			i := slices.IndexFunc(e.steps, func(s step) bool { return s.Machine == "transfer" })
			e.steps[i].Offset = 1 << 40
		}, wrong},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := p.evidence()
			tt.do(&e)
			if j := judge(p.ledger, e); tt.want(j) == 0 {
				t.Errorf("judge did not detect it: %q", j.messages)
			}
		})
	}
}

func without(all []place, at place) []place {
	return slices.DeleteFunc(all, func(p place) bool { return p == at })
}

// timedAnd returns one of the places that has a record about a ticket, which was sent once.
func timedAnd(p *played, places []place) place {
	sent := make(map[string]int)
	for _, r := range p.ledger.entries {
		sent[r.id]++
	}
	for _, r := range p.ledger.entries {
		if r.fate == timed && sent[r.id] == 1 && slices.Contains(places, r.at) {
			return r.at
		}
	}
	panic("there is none")
}

func lost(j *judgement) int  { return j.lost }
func twice(j *judgement) int { return j.twice }
func wrong(j *judgement) int { return j.wrong }

// TestAudit checks that judge detects each kind of violation of wallets.
func TestAudit(t *testing.T) {
	p := play(t, 7, 3000)
	// of returns a step of a transfer.
	of := func(e *evidence, event statemachine.Event) *step {
		return &e.steps[slices.IndexFunc(e.steps, func(s step) bool { return s.Event == event && s.Version > 2 })]
	}
	at := func(s *step) keptRecord {
		return keptRecord{s.Partition, s.Offset, s.Entity, versioning.ReasonRefused, fmt.Sprintf(tooLittle, 0, 0, 1)}
	}
	wrong := func(t tally) int { return t.Wrong }
	tests := []struct {
		name string
		do   func(*evidence)
		want func(tally) int
	}{
		{"money is made", func(e *evidence) { e.wallets.purses[0].Balance++ }, wrong},
		{"money is moved", func(e *evidence) { e.wallets.purses[0].Balance--; e.wallets.purses[1].Balance++ }, wrong},
		{"a state is not that of the balance", func(e *evidence) { e.wallets.purses[0].State = empty; e.wallets.purses[0].Balance = 1 }, wrong},
		{"a row has no history", func(e *evidence) { e.wallets.purses[0].ID = "ghost" }, wrong},
		{"a write of others is lost", func(e *evidence) { e.wallets.purses[0].Seen-- }, func(t tally) int { return t.ForeignWritesLost }},
		{"a write of others is lost in another column", func(e *evidence) { e.wallets.purses[0].Visits-- }, func(t tally) int { return t.ForeignWritesLost }},
		{"a write of others is there twice", func(e *evidence) { e.wallets.purses[0].Seen++ }, wrong},
		{"a debit is missing", func(e *evidence) {
			i := slices.IndexFunc(e.steps, func(s step) bool { return s.Event == debited })
			e.steps = slices.Delete(e.steps, i, i+1)
		}, func(t tally) int { return t.Lost }},
		{"a credit is there twice", func(e *evidence) { e.steps = append(e.steps, *of(e, credited)) }, func(t tally) int { return t.AppliedTwice }},
		{"a step is of another record", func(e *evidence) { of(e, credited).Offset = 1 << 40 }, wrong},
		{"a step is of another wallet", func(e *evidence) { of(e, credited).Entity = "another" }, wrong},
		{"an accepted transfer was refused", func(e *evidence) { e.wallets.dead = append(e.wallets.dead, at(of(e, debited))) }, wrong},
		{"an accepted transfer waits", func(e *evidence) { e.wallets.waits = append(e.wallets.waits, at(of(e, debited))) }, wrong},
		{"a transfer was refused twice", func(e *evidence) { e.wallets.dead = append(e.wallets.dead, e.wallets.dead[0]) }, wrong},
		{"a transfer was refused without reason", func(e *evidence) { e.wallets.dead[0].Detail = fmt.Sprintf(tooLittle, 0, 5, 9) }, wrong},
		{"a transfer was refused by a panic", func(e *evidence) { e.wallets.dead[0].Detail = "panic" }, wrong},
		{"a transfer waits although it could be made", func(e *evidence) {
			i := slices.IndexFunc(e.wallets.purses, func(p purseRow) bool { return p.ID == e.wallets.waits[0].Entity })
			e.wallets.purses[i].Balance = 1 << 40
		}, wrong},
		{"refused transfers are gone", func(e *evidence) { e.wallets.dead = nil }, func(t tally) int { return t.Lost }},
		{"waiting transfers are gone", func(e *evidence) { e.wallets.waits = nil }, func(t tally) int { return t.Lost }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := p.evidence()
			tt.do(&e)
			if j := judge(p.ledger, e); tt.want(j.tally) == 0 {
				t.Errorf("judge did not detect it: %q", j.messages)
			}
		})
	}
}

// TestOutputs checks that judge detects each kind of violation of messages and timers.
func TestOutputs(t *testing.T) {
	p := play(t, 7, 3000)
	// later returns the index of a message whose entity has sent one before.
	later := func(e *evidence) int {
		return slices.IndexFunc(e.sent, func(m sentMessage) bool { return m.Version > 1 })
	}
	expiry := func(e *evidence) int {
		return slices.IndexFunc(e.steps, func(s step) bool { return s.Event == expired })
	}
	tests := []struct {
		name string
		do   func(*evidence)
		want func(outputs) int
	}{
		{"a message is missing", func(e *evidence) { e.sent = e.sent[1:] }, func(o outputs) int { return o.Missing }},
		{"a message is late", func(e *evidence) { e.sent = append(e.sent[1:], e.sent[0]) }, func(o outputs) int { return o.Disordered }},
		{"a message is on another partition", func(e *evidence) { e.sent[later(e)].partition++ }, func(o outputs) int { return o.Disordered }},
		{"a message has another's ID", func(e *evidence) { e.sent[1].id = e.sent[0].id }, func(o outputs) int { return o.Misnamed }},
		{"a message is repeated", func(e *evidence) { e.sent = append(e.sent, e.sent[0]) }, func(o outputs) int { return o.Repeated }},
		{"a message is of no step", func(e *evidence) { e.sent[0].Event = "other" }, func(o outputs) int { return o.Phantoms }},
		{"a message is of a step on another way", func(e *evidence) { e.sent[0].Trail++ }, func(o outputs) int { return o.Phantoms }},
		{"a ticket expires early", func(e *evidence) { e.steps[expiry(e)].At = e.steps[expiry(e)-1].At.Add(ticketLife - 1) }, func(o outputs) int { return o.Early }},
		{"a ticket expires long after it was first opened", func(e *evidence) {
			i := slices.IndexFunc(e.steps, func(s step) bool { return s.Event == expired && s.Version > 3 })
			e.steps[i-1].At = e.steps[i].At
		}, func(o outputs) int { return o.Early }},
		{"a ticket never expires", func(e *evidence) {
			e.rows[slices.IndexFunc(e.rows, func(r row) bool { return r.Machine == "ticket" })].State = open
		}, func(o outputs) int { return o.NotFired }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := p.evidence()
			tt.do(&e)
			if j := judge(p.ledger, e); tt.want(j.outputs) == 0 {
				t.Errorf("judge did not detect it: %q", j.messages)
			}
		})
	}
}

// TestGaps checks that gaps detects an acknowledged record that is not in the
// topic.
func TestGaps(t *testing.T) {
	l := newLedger()
	for _, offset := range []int64{0, 2, 1} {
		l.add(sending{}, place{0, offset}, nil)
		l.add(sending{}, place{1, 2 * offset}, nil)
	}
	if got, want := fmt.Sprint(l.gaps()), "[partition 1: 3 records were acknowledged, with offsets from 0 to 4]"; got != want {
		t.Errorf("gaps %s, want %s", got, want)
	}
}

// TestOtherWay checks that a message of a step that a failover has lost does not count as the
// message of a step that looks like it.
func TestOtherWay(t *testing.T) {
	e := play(t, 7, 3000).evidence()
	lost := e.sent[len(e.sent)-1]
	for _, m := range e.sent {
		if m.Version > lost.Version {
			lost = m
		}
	}
	lost.Trail++
	e.sent = append([]sentMessage{lost}, e.sent...)
	j := &judgement{}
	j.announcements(e)
	if j.outputs.Phantoms != 1 || j.outputs.Disordered+j.outputs.Repeated+j.outputs.Missing > 0 {
		t.Errorf("outputs %+v: %q", j.outputs, j.messages)
	}
}
