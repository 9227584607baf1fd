// Package jobs calls the outside world because of transitions: a payment provider, a mail
// service, another company's API.
//
// An action can't make a call: it is a pure function, and its transaction may be rolled back
// or run again. So it enqueues a job, with [statemachine.Firing.Enqueue]:
//
//	type Charge struct { // River's job args
//		Amount int64 `json:"amount"`
//	}
//
//	func (Charge) Kind() string { return "charge" }
//
//	func place(f *statemachine.Firing, p *Payment, o Order) error {
//		p.Amount = o.Amount
//		f.Enqueue(Charge{Amount: o.Amount})
//		return nil
//	}
//
// A [Queue], set as the table's Queue, inserts the job into the table of River
// (https://riverqueue.com) in the transaction that makes the transition. So there is exactly
// one job for each transition that happened: one that was rolled back has none, and neither a
// duplicate nor a replay enqueues it again. From then on it is an ordinary River job, which
// River's clients work, retry and clean up, and River's UI shows.
//
// A [Handler] makes the call, and returns the event that the answer is:
//
//	err := jobs.Add(workers, store, jobs.Handler[Charge]{
//		Class:    jobs.Repeatable,
//		Provider: bank,
//		Unknown:  "charge.unknown",
//		Call: func(ctx context.Context, c jobs.Call[Charge]) ([]versioning.Change, error) {
//			id, err := bankClient.Charge(ctx, c.Key, c.Args.Amount)
//			if errors.Is(err, bankapi.ErrDeclined) {
//				return jobs.Event("charge.declined", nil), nil
//			}
//			return jobs.Event("charge.succeeded", Charged{ID: id}), err
//		},
//	})
//
// The event goes through Store.Do, so through the state machine, with a message ID that is
// derived from the job's key. A job that ran twice changes its entity once.
//
// # Lost answers
//
// A call may have been made although its answer never arrived: it timed out, the connection
// broke, or the process was killed. What may be done then is a property of the provider, and
// the handler's [Class] says it.
//
//   - [Repeatable]: the job is run again with the same key. It costs nothing to be so.
//   - [Queryable]: the provider is asked first, by [Handler.Ask]. Before the provider's
//     timeout has passed it is not asked, because the first call may still be on its way.
//   - [Once]: the call is never repeated. The job ends as the event [Handler.Unknown], or is
//     cancelled with [ErrUnknown].
//
// For Queryable and Once, the job is marked before each call, which takes one UPDATE. The mark
// holds whatever ends the attempt: also if River takes the job from a worker that it believes
// dead, and that one wakes up later. A person finds the mark in River's UI, as the output. It
// stays when the job is retried there; to make the call in spite of it, let an event enqueue
// another job.
//
// An error that says that the call was not made ([NotCalled]) is retried in all classes.
// Retries are River's: the args' InsertOpts limit their number, and the client's RetryPolicy
// says when. [RetryAfter] puts the job off as long as the provider wants.
//
// After the last attempt, one more settles the job, without a call: the queue has added it. So
// a job also ends as Unknown if the process of its last call was killed. There are two gaps.
// If that attempt is killed as well, River discards the job, and the event does not happen. If
// a person retries a job whose attempts are used up, and that attempt is killed, River discards
// the job too, although it may have called.
//
// # Results that are refused
//
// A result that is Early is tried again for [Handler.EarlyFor], without another call. If it
// stays Early, it is parked, and judged again when the entity moves. One that is Rejected or
// Diverged becomes a dead letter, which can be redriven. Both cancel the job with a
// [RefusedError], which River's UI shows. Retried there, the job tries the result again without
// a call. River deletes cancelled jobs after a day; the store keeps their results.
//
// # Running River
//
// [Migrate] creates River's tables, as River's own command does. A program that consumes needs
// the Queue only; one that works the jobs needs a River client with a pool. Both may be the
// same program. No database connection is held during a call.
//
// Give the client that works the jobs the driver that [NewDriver] returns. River's own driver does
// not notice that PostgreSQL has lost commits in a failover or a restore, and may then store the
// end of an attempt although its result is lost, or for another job.
//
// The client's RescueStuckJobsAfter, by default an hour, is the time after which the job of a
// killed process is run again. Keep it longer than the longest attempt: twice the provider's
// timeout, and 35 seconds. River can't tell a killed process from one that was stopped for that
// long, by SIGSTOP or with its virtual machine. When such a one wakes up, it makes no call of
// class Queryable or Once any more, and waits until the other attempt has ended: River changes a
// job by its ID, so the end of one attempt would end the other.
//
// Processes that share a provider each have their own limits; see [Provider]. River fetches no
// more jobs than a queue's MaxWorkers, and jobs that wait for their turn count, so give a slow
// provider a River queue of its own. A client fetches once per FetchCooldown, by default 100
// ms, and no more than MaxWorkers jobs. So it runs at most MaxWorkers jobs per FetchCooldown,
// however short they are: with 20 workers, 200 a second.
package jobs
