package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"github.com/pawl-go/pawl/versioning/postgres"
)

// A Queue writes the jobs that actions enqueue to River's table, in the transaction of their
// steps. Set it as [postgres.Table.Queue]; several tables may share one. A job is a
// [river.JobArgs], or a [river.InsertManyParams] with options for this job only. It is safe
// for concurrent use.
type Queue struct {
	inserter *river.Client[pgx.Tx]
	checker  *river.Client[pgx.Tx] // inserts nothing
	attempts int                   // of a job that does not say how many
}

// A Queue is the queue of a store, and checks jobs.
var (
	_ postgres.OutputWriter = (*Queue)(nil)
	_ postgres.JobChecker   = (*Queue)(nil)
)

// NewQueue returns a queue. config is River's; nil means its defaults. Of its fields, those
// matter that concern inserting: Schema, MaxAttempts, FetchCooldown, PollOnly, Logger, Hooks,
// Middleware and Plugins. If Workers is set, a job whose kind has no worker there rejects its
// record. The queue uses no connection of its own, and need not be closed.
//
// The row of a job allows one attempt more than its options do. That one makes no call: it
// settles the job after the last call; see [Handler.Unknown].
//
// River notifies its workers of new jobs, with a NOTIFY in the transaction of the steps: in one
// transaction per FetchCooldown (by default 100 ms) and River queue. PostgreSQL lets only one
// transaction at a time commit that has a NOTIFY, in the whole server, and so one after the
// other is flushed to disk and sent to a synchronous standby. Others do not wait. If many
// processes enqueue, set a longer FetchCooldown here, or PollOnly: then there is no NOTIFY, and
// a worker finds a job when it polls, after its FetchPollInterval.
//
// Hooks and middleware that are called around inserts get no results: the statement is sent
// after they have returned. They must not change MaxAttempts.
func NewQueue(config *river.Config) (*Queue, error) {
	inserts := river.Config{}
	if config != nil {
		inserts = *config
	}
	inserts.Queues, inserts.PeriodicJobs = nil, nil // this client works no jobs
	inserter, err := newInserter(&inserts)
	if err != nil {
		return nil, fmt.Errorf("the configuration of a queue: %w", err)
	}
	checks := inserts
	checks.Hooks, checks.Plugins = nil, nil
	checks.JobInsertMiddleware, checks.WorkerMiddleware = nil, nil //nolint:staticcheck // deprecated, but users may set it
	checks.Middleware = []rivertype.Middleware{river.JobInsertMiddlewareFunc(check)}
	checker, err := river.NewClient(riverpgxv5.New(nil), &checks)
	if err != nil {
		return nil, fmt.Errorf("the configuration of a queue: %w", err)
	}
	return &Queue{inserter, checker, cmp.Or(inserts.MaxAttempts, river.MaxAttemptsDefault)}, nil
}

// newInserter returns a client that inserts. It notifies other clients, unless it is PollOnly.
func newInserter(config *river.Config) (*river.Client[pgx.Tx], error) {
	if config.PollOnly {
		return river.NewClient(silentDriver{riverpgxv5.New(nil)}, config)
	}
	return river.NewClient(riverpgxv5.New(nil), config)
}

// A silentDriver makes River insert without NOTIFY.
type silentDriver struct{ *riverpgxv5.Driver }

func (silentDriver) SupportsListener() bool     { return false }
func (silentDriver) SupportsListenNotify() bool { return false }

// CheckJob implements [postgres.JobChecker]: it says why a job can't be inserted.
func (q *Queue) CheckJob(job any) error {
	params, err := q.params(job, &cause{})
	if err != nil {
		return err
	}
	_, err = q.checker.InsertManyTx(context.Background(), nil, []river.InsertManyParams{params})
	return err
}

// check says why PostgreSQL can't store jobs. River calls it around an insert, after it has
// checked their options. It does not go on to insert them.
func check(_ context.Context, jobs []*rivertype.JobInsertParams, _ func(context.Context) ([]*rivertype.JobInsertResult, error)) ([]*rivertype.JobInsertResult, error) {
	for _, j := range jobs {
		if err := storable(j.EncodedArgs); err != nil {
			return nil, fmt.Errorf("its args: %w", err)
		}
		if err := storable(j.Metadata); err != nil {
			return nil, fmt.Errorf("its metadata: %w", err)
		}
		switch n := utf8.RuneCountInString(j.Kind); {
		case n == 0 || n > 127 || storable([]byte(j.Kind)) != nil:
			return nil, fmt.Errorf("its kind is %.200q; River stores 1 to 127 characters", j.Kind)
		case j.ScheduledAt != nil && (j.ScheduledAt.Year() < 1 || j.ScheduledAt.Year() > 9999):
			return nil, fmt.Errorf("it is scheduled in the year %d", j.ScheduledAt.Year())
		}
	}
	return nil, nil
}

// params returns what River inserts for a job of a step. It sets the cause's Attempts.
func (q *Queue) params(job any, c *cause) (river.InsertManyParams, error) {
	var params river.InsertManyParams
	switch job := job.(type) {
	case river.InsertManyParams:
		params = job
	case river.JobArgs:
		params.Args = job
	default:
		return params, errors.New("it is neither a river.JobArgs nor a river.InsertManyParams")
	}
	if params.Args == nil {
		return params, errors.New("it has no args")
	}
	var opts river.InsertOpts
	if params.InsertOpts != nil {
		opts = *params.InsertOpts
	}
	if with, ok := params.Args.(river.JobArgsWithInsertOpts); ok && opts.MaxAttempts == 0 {
		opts.MaxAttempts = with.InsertOpts().MaxAttempts
	}
	c.Attempts = min(cmp.Or(opts.MaxAttempts, q.attempts), math.MaxInt16-1) // River stores a smallint
	if c.Attempts < 1 {
		return params, fmt.Errorf("its MaxAttempts is %d", c.Attempts)
	}
	opts.MaxAttempts = c.Attempts + 1 // see attempt.settles
	var err error
	opts.Metadata, err = withCause(opts.Metadata, c)
	params.InsertOpts = &opts
	return params, err
}

// maxInsert limits how many jobs one statement inserts, and so its size. All statements of a
// transaction are sent together.
const maxInsert = 500

// WriteOutputs implements [postgres.OutputWriter]. It adds River's statements to those that
// write the rows, so it takes no round trip: River inserts as with Client.InsertManyTx, which
// skips a job that is unique and already there. (InsertManyFastTx uses COPY, which takes
// round trips of its own, and fails the whole batch because of such a job.)
func (q *Queue) WriteOutputs(ctx context.Context, tx postgres.Tx, steps []postgres.Caused) error {
	var all []river.InsertManyParams
	for i := range steps {
		for index, job := range steps[i].Outputs.Jobs {
			params, err := q.params(job, causeOf(&steps[i], index))
			if err != nil {
				return err
			}
			all = append(all, params)
		}
	}
	for len(all) > 0 {
		n := min(len(all), maxInsert)
		if _, err := q.inserter.InsertManyTx(ctx, laterTx{tx}, all[:n]); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}
