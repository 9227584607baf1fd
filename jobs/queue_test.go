package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"golang.org/x/sync/errgroup"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/jobs"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// TestOneJobForEachTransition checks that a job is inserted with its transition, and never
// without one.
func TestOneJobForEachTransition(t *testing.T) {
	t.Parallel()
	e := newEnv(t, machineWith(place), nil)
	e.place("p1", 10)
	e.want(jobsIn, `charge available {"amount": 10}`)

	t.Log("a duplicate enqueues nothing")
	e.do(versioning.Duplicate, versioning.Change{Key: "p1", Event: "placed", Data: int64(10), MessageID: "place p1"})
	e.want(jobState, "available")

	t.Log("neither does a transition that is refused with another one, nor one that fails to commit")
	e.do(versioning.Rejected, versioning.Change{Key: "p2", Event: "placed", Data: int64(1)}, versioning.Change{Key: "p3", Event: "misspelt"})
	e.want(jobState, "available")
	e.exec(`CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '53100'; END $$`)
	e.exec(`CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON payments DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail()`)
	if o, err := e.store.Do(t.Context(), versioning.Change{Key: "p2", Event: "placed", Data: int64(1)}); err == nil {
		t.Fatalf("a transaction that fails has the outcome %+v", o)
	}
	e.want(jobState, "available")

	t.Log("the job says which step enqueued it")
	if got, want := e.metadata("pawl"), `{"event": "placed", "index": 0, "entity": "p1", "machine": "payment", "version": 1, "attempts": 25}`; got != want {
		t.Errorf("the metadata is %s, want %s", got, want)
	}
}

// TestWrongJobs checks that a job that can't be inserted rejects its record, and holds up no
// other.
func TestWrongJobs(t *testing.T) {
	t.Parallel()
	var wrong []any
	e := newEnv(t, machineWith(func(f *statemachine.Firing, _ *payment, n int64) error {
		if n < int64(len(wrong)) {
			f.Enqueue(wrong[n])
		} else {
			f.Enqueue(Charge{n})
		}
		return nil
	}), nil)
	opts := func(o river.InsertOpts) any { return river.InsertManyParams{Args: Charge{}, InsertOpts: &o} }
	cases := map[string]struct {
		job  any
		want string
	}{
		"not a job":         {"charge", "neither a river.JobArgs"},
		"nil":               {nil, "neither a river.JobArgs"},
		"no args":           {river.InsertManyParams{}, "no args"},
		"nil pointer":       {(*Charge)(nil), "panic"},
		"no JSON":           {anyArgs{"f", func() {}}, "marshaling args"},
		"NUL":               {anyArgs{"s", "a\x00b"}, "NUL"},
		"half a pair":       {anyArgs{"s", json.RawMessage(`"\ud83d"`)}, "surrogate"},
		"not UTF-8":         {anyArgs{"s", json.RawMessage("\"\xff\"")}, "UTF-8"},
		"long number":       {anyArgs{"s", json.RawMessage(`1e200000`)}, "number"},
		"deep":              {anyArgs{"s", json.RawMessage(strings.Repeat("[", 8000) + strings.Repeat("]", 8000))}, "nested"},
		"large":             {anyArgs{"s", strings.Repeat("x", 1<<20)}, "bytes"},
		"long kind":         {anyArgs{strings.Repeat("k", 128), 1}, "kind"},
		"no kind":           {anyArgs{"", 1}, "kind"},
		"priority":          {opts(river.InsertOpts{Priority: 9}), "priority"},
		"attempts":          {opts(river.InsertOpts{MaxAttempts: -1}), "MaxAttempts"},
		"queue":             {opts(river.InsertOpts{Queue: "no spaces"}), "queue"},
		"tags":              {opts(river.InsertOpts{Tags: []string{"a,b"}}), "tags"},
		"unique":            {opts(river.InsertOpts{UniqueOpts: river.UniqueOpts{ByPeriod: 1}}), "ByPeriod"},
		"scheduled":         {opts(river.InsertOpts{ScheduledAt: time.Unix(math.MaxInt32*1000, 0)}), "year"},
		"metadata":          {opts(river.InsertOpts{Metadata: []byte(`[1]`)}), "metadata"},
		"null metadata":     {opts(river.InsertOpts{Metadata: []byte(`null`)}), "metadata"},
		"reserved metadata": {opts(river.InsertOpts{Metadata: []byte(`{"pawl_result":1}`)}), "reserved"},
		"NUL in metadata":   {opts(river.InsertOpts{Metadata: []byte(`{"a":"\u0000"}`)}), "NUL"},
	}
	names := make([]string, 0, len(cases))
	for name, c := range cases {
		names, wrong = append(names, name), append(wrong, c.job)
	}
	var records []*versioning.Record
	for i := range len(wrong) + 1 {
		r := &versioning.Record{
			Origin:  versioning.Origin{Topic: "payments", TopicID: [16]byte{1}, Offset: int64(i)},
			Changes: []versioning.Change{{Key: fmt.Sprint(i), Event: "placed", Data: int64(i)}},
		}
		e.store.Prepare(r)
		records = append(records, r)
	}
	result, err := e.store.Apply(t.Context(), "", records)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range result.Outcomes {
		if i == len(wrong) {
			if o.Verdict != versioning.Applied {
				t.Errorf("the record with a good job is %+v", o)
			}
			continue
		}
		if o.Verdict != versioning.Rejected || o.Reason != versioning.ReasonInvalidOutput || !strings.Contains(o.Detail, cases[names[i]].want) {
			t.Errorf("%s: %v %s %.200s, want an %s with %q", names[i], o.Verdict, o.Reason, o.Detail, versioning.ReasonInvalidOutput, cases[names[i]].want)
		}
	}
	e.want(jobState, "available")
}

// anyArgs are args with any content.
type anyArgs struct {
	kind    string
	content any
}

func (a anyArgs) Kind() string { return a.kind }
func (a anyArgs) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{"content": a.content})
}

// Reminder is a job with options.
type Reminder struct {
	Customer string `json:"customer" river:"unique"`
	Payment  string `json:"payment"`
}

func (Reminder) Kind() string { return "reminder" }

func (Reminder) InsertOpts() river.InsertOpts {
	return river.InsertOpts{
		Queue: "mail", Priority: 3, MaxAttempts: 7, Tags: []string{"reminder"},
		ScheduledAt: time.Date(2100, 1, 2, 3, 4, 5, 0, time.UTC), UniqueOpts: river.UniqueOpts{ByArgs: true},
	}
}

// TestInsertOptions checks the options of the args, of a single job, and of the queue.
func TestInsertOptions(t *testing.T) {
	t.Parallel()
	e := newEnv(t, machineWith(func(f *statemachine.Firing, _ *payment, n int64) error {
		f.Enqueue(Reminder{Customer: "c1", Payment: f.Key})
		if n == 1 {
			f.Enqueue(river.InsertManyParams{Args: Charge{n}, InsertOpts: &river.InsertOpts{Queue: "bank", Metadata: []byte(` {"a":1} `)}})
		}
		return nil
	}), &river.Config{MaxAttempts: 3})
	e.place("p1", 1)
	t.Log("the second reminder to the customer is skipped, because it is unique")
	e.place("p2", 2)
	e.want(`SELECT concat_ws(' ', kind, state, queue, priority, max_attempts, tags, scheduled_at > now(), args ->> 'payment', metadata -> 'a', metadata -> 'pawl' -> 'index')
		FROM river_job ORDER BY id`,
		"reminder scheduled mail 3 8 {reminder} t p1 0",
		"charge available bank 1 4 {} f 1 1")
	t.Log("one attempt more than the options allow, which settles the job")
	e.want(`SELECT metadata -> 'pawl' ->> 'attempts' FROM river_job ORDER BY id`, "7", "3")
}

// TestUnknownKind checks that a queue that knows the workers refuses jobs that none works.
func TestUnknownKind(t *testing.T) {
	t.Parallel()
	queue, err := jobs.NewQueue(&river.Config{Workers: river.NewWorkers(), Queues: map[string]river.QueueConfig{"q": {MaxWorkers: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := errors.AsType[*river.UnknownJobKindError](queue.CheckJob(Charge{})); !ok {
		t.Errorf("CheckJob: %v, want an UnknownJobKindError", queue.CheckJob(Charge{}))
	}
	if queue, err := jobs.NewQueue(&river.Config{ID: strings.Repeat("x", 200)}); err == nil {
		t.Errorf("NewQueue accepts an ID of 200 characters: %v", queue)
	}
}

// TestBatchOfJobs counts the round trips of a batch whose 2,500 steps enqueue a job each.
func TestBatchOfJobs(t *testing.T) {
	t.Parallel()
	config, err := pgxpool.ParseConfig(testenv.Postgres(t, withRiver))
	if err != nil {
		t.Fatal(err)
	}
	trips := &tripCounter{}
	config.MaxConns, config.ConnConfig.Tracer = 1, trips
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	e := newEnvOn(t, pool, machineWith(place), nil)
	for round, n := range []int{1, 2500} { // the first round prepares the statements
		var records []*versioning.Record
		for i := range n {
			r := &versioning.Record{
				Origin:  versioning.Origin{Topic: "payments", TopicID: [16]byte{1}, Partition: int32(round), Offset: int64(i)},
				Changes: []versioning.Change{{Key: fmt.Sprint(round, "-", i), Event: "placed", Data: int64(i)}},
			}
			e.store.Prepare(r)
			records = append(records, r)
		}
		before := trips.n
		if _, err := e.store.Apply(t.Context(), "", records); err != nil {
			t.Fatal(err)
		}
		if got := trips.n - before; round == 1 && got != 2 {
			t.Errorf("%d jobs take %d round trips, want the 2 that a batch without jobs takes", n, got)
		}
	}
	e.want(`SELECT count(DISTINCT args -> 'amount')::text || ' of ' || count(*) FROM river_job`, "2500 of 2501")
}

// TestQueueInSchema checks a queue and workers in another schema than public.
func TestQueueInSchema(t *testing.T) {
	t.Parallel()
	const schema = "Other_1"
	url := testenv.Postgres(t, withRiver)
	for range 2 {
		if err := jobs.MigrateIn(t.Context(), url, schema); err != nil {
			t.Fatal(err)
		}
	}
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	e := newEnvOn(t, pool, machineWith(place), &river.Config{Schema: schema})
	e.place("p1", 1)
	e.want(jobState)
	e.want(`SELECT state::text FROM "Other_1".river_job`, "available")
	workOn(e, pool, e.store, jobs.Handler[Charge]{Class: jobs.Once, Call: succeeded}, &river.Config{Schema: schema})
	e.eventually(states, "p1 paid 2 charge")
}

// TestWithoutTables checks that a store whose database has no table of River says so, and does
// not blame the records.
func TestWithoutTables(t *testing.T) {
	t.Parallel()
	e := newEnv(t, machineWith(place), &river.Config{Schema: "elsewhere"})
	o, err := e.store.Do(t.Context(), versioning.Change{Key: "p1", Event: "placed", Data: int64(1)})
	if err == nil || versioning.CauseOf(err) == versioning.Data || !strings.Contains(err.Error(), "river_job") {
		t.Errorf("Do: %+v, %v", o, err)
	}
}

// TestTablesShareQueue checks that two machines enqueue in one transaction, each job once.
func TestTablesShareQueue(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, withRiver)
	queue, err := jobs.NewQueue(nil)
	if err != nil {
		t.Fatal(err)
	}
	refund := statemachine.MustCompile(statemachine.Definition{
		Name: "refund", Version: 1,
		Transitions: []statemachine.Transition{{Event: "placed", To: "pending", Do: statemachine.Do(place)}},
		Terminal:    statemachine.In("pending"),
	})
	if _, err := pool.Exec(t.Context(), `CREATE TABLE refunds (LIKE payments INCLUDING ALL)`); err != nil {
		t.Fatal(err)
	}
	store, err := postgres.Open(t.Context(), pool,
		postgres.Table{Machine: machineWith(place), Name: "payments", Queue: queue}, postgres.Table{Machine: refund, Name: "refunds", Queue: queue})
	if err != nil {
		t.Fatal(err)
	}
	e := &env{t, pool, store, queue}
	e.do(versioning.Applied,
		versioning.Change{Machine: "payment", Key: "p1", Event: "placed", Data: int64(1)},
		versioning.Change{Machine: "payment", Key: "p1", Event: "again", Data: int64(2)},
		versioning.Change{Machine: "refund", Key: "p1", Event: "placed", Data: int64(3)})
	e.want(`SELECT (metadata -> 'pawl' ->> 'machine') || ' ' || (metadata -> 'pawl' ->> 'version') || ' ' || args FROM river_job ORDER BY args`,
		`payment 1 {"amount": 1}`, `payment 2 {"amount": 2}`, `refund 1 {"amount": 3}`)
}

// TestMigrateConcurrently checks that several processes may migrate at the same time.
func TestMigrateConcurrently(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	var all errgroup.Group
	for range 4 {
		all.Go(func() error { return jobs.MigrateIn(t.Context(), url, "river") })
	}
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
	if err := jobs.Migrate(t.Context(), "not a URL"); err == nil {
		t.Error("Migrate accepts a URL that is none")
	}
}

// TestPage runs the statements about River's tables of docs/operations.md, and checks that the
// rights that it names are enough to enqueue.
func TestPage(t *testing.T) {
	t.Parallel()
	conn, err := pgx.Connect(t.Context(), testenv.Postgres(t, withRiver))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	role := fmt.Sprintf("worker_%d", time.Now().UnixNano())
	statements := []string{"CREATE ROLE " + role, "GRANT USAGE ON SCHEMA public TO " + role}
	page, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Jobs\n")
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := strings.Split(section, "\n```psql\n")[1:]
	if len(blocks) != 2 {
		t.Fatalf("the section has %d blocks of psql, want a query and the rights", len(blocks))
	}
	for _, block := range blocks {
		sql, _, _ := strings.Cut(block, "\n```")
		statements = append(statements, strings.ReplaceAll(sql, "TO worker", "TO "+role))
	}
	for _, sql := range append(statements, "SET LOCAL ROLE "+role) {
		if _, err := tx.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%v\n%s", err, sql)
		}
	}
	queue, err := jobs.NewQueue(nil)
	if err != nil {
		t.Fatal(err)
	}
	queued := &queueTx{Tx: tx}
	step := causedBy(Charge{})
	if err := queue.WriteOutputs(t.Context(), queued, []postgres.Caused{step}); err != nil {
		t.Fatal(err)
	}
	if n := len(queued.batch.QueuedQueries); n != 2 {
		t.Errorf("a job takes %d statements, want an INSERT and a NOTIFY", n)
	}
	if err := tx.SendBatch(t.Context(), &queued.batch).Close(); err != nil {
		t.Error(err)
	}
}

// TestPollOnly checks that a queue for workers that poll sends no NOTIFY, which makes
// transactions wait for each other.
func TestPollOnly(t *testing.T) {
	t.Parallel()
	e := newEnv(t, machineWith(place), &river.Config{PollOnly: true})
	tx, err := e.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	queued := &queueTx{Tx: tx}
	if err := e.queue.WriteOutputs(t.Context(), queued, []postgres.Caused{causedBy(Charge{})}); err != nil {
		t.Fatal(err)
	}
	if n := len(queued.batch.QueuedQueries); n != 1 {
		t.Errorf("a job takes %d statements, want an INSERT", n)
	}
	e.place("p1", 1)
	e.want(jobState, "available")
}

// causedBy returns a step that enqueues a job.
func causedBy(job any) postgres.Caused {
	return postgres.Caused{Entity: versioning.Entity{Machine: "payment", Key: "p1"}, Version: 1, Outputs: &versioning.Outputs{Jobs: []any{job}}}
}

// A queueTx is a transaction as a store lends it.
type queueTx struct {
	pgx.Tx
	batch pgx.Batch
}

func (t *queueTx) Queue(sql string, args ...any) *pgx.QueuedQuery { return t.batch.Queue(sql, args...) }
