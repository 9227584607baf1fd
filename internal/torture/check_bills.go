package main

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/jobs"
)

// charges is the part of a judgement, and of the summary, about bills.
type charges struct {
	Asked     int `json:"asked"`    // steps that enqueued a job
	Declined  int `json:"declined"` // of these, by the provider
	Calls     int `json:"calls"`    // to the provider
	Questions int `json:"questions"`
	Faults    int `json:"faults"`           // of the provider's answers
	AfterLoss int `json:"again_after_loss"` // fees that were taken again because the database has lost that they were
	Missing   int `json:"missing"`
	Twice     int `json:"twice"`
	Unasked   int `json:"unasked"` // charges without a step
	Stuck     int `json:"stuck"`   // bills
	Wrong     int `json:"wrong"`
}

func (c *charges) add(more *charges) {
	c.Asked += more.Asked
	c.Declined += more.Declined
	c.Calls += more.Calls
	c.Questions += more.Questions
	c.Faults += more.Faults
	c.AfterLoss += more.AfterLoss
	c.Missing += more.Missing
	c.Twice += more.Twice
	c.Unasked += more.Unasked
	c.Stuck += more.Stuck
	c.Wrong += more.Wrong
}

// billEvidence is what the database and the provider have about bills.
type billEvidence struct {
	accountsOf

	receipts []billReceipt
	failed   []failedJob
}

// A billReceipt is the receipt in a bill's row.
type billReceipt struct{ ID, Receipt string }

// A failedJob is a job that was cancelled or discarded.
type failedJob struct {
	ID               int64
	Kind, State, Key string
	Errors           string
}

func (t tenant) gatherBills(ctx context.Context, conn *pgx.Conn) (e billEvidence, err error) {
	if e.receipts, err = collect(ctx, conn, pgx.RowToStructByPos[billReceipt], t.sql(`SELECT id, receipt FROM torture.bills`)); err != nil {
		return e, err
	}
	e.failed, err = collect(ctx, conn, pgx.RowToStructByPos[failedJob], t.sql(`
		SELECT id, kind, state::text, coalesce(metadata->'pawl'->>'entity', ''), coalesce(errors[array_upper(errors, 1)]->>'error', '')
		FROM river.river_job WHERE state IN ('cancelled', 'discarded')`))
	return e, err
}

// bills checks that the provider has taken each charge that a step asks for exactly once, and
// none besides, and that its answer is the next step of the bill.
//
// The database may lose steps, jobs and answers, but the records are in Kafka and make the same
// steps again, with the same keys. So only a fee may be taken again: see [evidence.mayTakeAgain].
func (j *judgement) bills(l *ledger, e evidence) {
	c := &j.charges
	c.Calls, c.Questions, c.Faults = e.bills.calls, e.bills.questions, e.bills.faults
	demands := make(map[string]*message)
	for i := range l.entries {
		if r := &l.entries[i]; r.body.Event == billed {
			demands[r.id] = &r.body
		}
	}
	taken := make(map[string][]deal)
	for _, d := range e.bills.deals {
		taken[d.Key] = append(taken[d.Key], d)
	}
	last := make(map[string]string) // receipts
	for i := range e.steps {
		s := &e.steps[i]
		if s.Machine != bills.Name() || s.Event != billed {
			continue
		}
		c.Asked++
		key := jobs.KeyOf(s.Machine, s.Entity, s.Version, 0)
		last[s.Entity] = receiptOf(key)
		m := demands[s.MessageID]
		if m == nil {
			j.report(&c.Wrong, "step %+v is of a message that is not in the ledger", *s)
			continue
		}
		j.deals(e, s, m, taken[key])
		delete(taken, key)
		if i+1 < len(e.steps) {
			j.answer(s, m, key, &e.steps[i+1])
		} else {
			j.answer(s, m, key, &step{})
		}
	}
	for _, deals := range taken {
		j.report(&c.Unasked, "the provider has taken %+v, which no step asks for", deals)
	}
	for _, r := range e.bills.receipts {
		if r.Receipt != last[r.ID] {
			j.report(&c.Wrong, "bill %+v, but its last receipt is %q", r, last[r.ID])
		}
	}
	for _, key := range e.bills.conflicts {
		j.report(&c.Wrong, "key %s was used for different charges", key)
	}
	for _, f := range e.bills.failed {
		j.report(&c.Wrong, "job %+v has failed", f)
	}
}

// deals checks what the provider has done for a step that asks for a charge.
func (j *judgement) deals(e evidence, s *step, m *message, deals []deal) {
	kind := (charge{}).Kind()
	if m.IsFee {
		kind = (fee{}).Kind()
	}
	if len(deals) == 0 {
		j.report(&j.charges.Missing, "the provider was not asked for the %s of step %+v", kind, *s)
	}
	for i := range deals {
		d := &deals[i]
		if d.Kind != kind || d.Entity != s.Entity || d.Amount != m.Amount {
			j.report(&j.charges.Wrong, "the provider was asked for %+v by step %+v, which is of %+v", *d, *s, *m)
		}
		switch {
		case i == 0:
		case m.IsFee && e.mayTakeAgain(&deals[i-1], d):
			j.charges.AfterLoss++
		default:
			j.report(&j.charges.Twice, "the provider has taken %+v, and then %+v", deals[i-1], *d)
		}
	}
}

// mayTakeAgain reports whether a fee may be taken again: the attempt that took it first began on
// a database that was lost, and its mark may be among what was lost. The mark was committed
// before the provider was called.
func (e *evidence) mayTakeAgain(first, second *deal) bool {
	return slices.ContainsFunc(e.losses, func(l loss) bool {
		return !first.Fetched.After(l.at) && !first.At.Before(l.kept) && !second.At.Before(l.at)
	})
}

// answer checks that the step after one that asks for a charge is the provider's answer.
func (j *judgement) answer(s *step, m *message, key string, next *step) {
	want := charged
	if isDeclined(m.Amount) {
		want = turnedOff
		j.charges.Declined++
	}
	switch {
	case next.Machine != s.Machine || next.Entity != s.Entity:
		j.report(&j.charges.Stuck, "bill %s is still %s: %+v", s.Entity, s.ToState, *s)
	case next.Event != want || next.MessageID != "pawl.job/"+key:
		j.report(&j.charges.Wrong, "step %+v is answered by %+v, but the provider has said %q", *s, *next, want)
	}
}
