package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/puddle/v2"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
)

// NewDriver returns a driver for a River client that works jobs. It does what riverpgxv5.New does,
// and keeps jobs safe if PostgreSQL loses commits in a failover or a restore.
//
// River stores the end of an attempt a moment later, and tries that for as long as it takes. It
// names the job by its ID only. If the server was replaced meanwhile, the result may be lost
// although the attempt has ended, and the job would count as completed. Or the job is lost as
// well, and another one, which runs, has got its ID. So this driver stores the end of an attempt
// only if the job still has that attempt. If the attempt has a result, and has got its job from
// another server, the job is run again at once: with the result, and without another call. That
// does not count as an attempt. An attempt without a result ends as usual.
//
// The driver can't tell a server that has lost commits from one that was only restarted. So a
// restart is enough for results to be applied again. A result takes effect once.
//
// That takes one more round trip for each fetch, and three more each time that River stores ends of
// attempts. River stores many ends together. So the ends of jobs that were not inserted by a
// [Queue] may share a transaction with those of jobs that were, and fail and are tried again with
// them. The driver changes nothing else about such jobs.
//
// It has limits:
//
//   - A program with another driver, such as one that wraps riverpgxv5's, has none of this.
//     Wrap this driver instead.
//   - A fetch asks for the server on one connection, and may fetch on another one. During a switch,
//     the first one may lead to the new server and the second one still to the old one. Then the
//     driver takes the attempt for one of the new server.
//   - A server that recovers from the crash of one of its processes keeps its start time, so the
//     driver does not notice. Such a server loses commits only if synchronous_commit is off.
func NewDriver(pool *pgxpool.Pool) riverdriver.Driver[pgx.Tx] {
	return riverDriver{riverpgxv5.New(pool)}
}

type riverDriver struct{ *riverpgxv5.Driver }

func (d riverDriver) GetExecutor() riverdriver.Executor { return executor{d.Driver.GetExecutor()} }

// An executor runs River's statements.
type executor struct{ riverdriver.Executor }

// serverKey is the key in a job's metadata under which an attempt knows its server. It is in the
// memory of the process only.
const serverKey = metadataKey + "_server"

// endKey is the key in the updates of metadata at the end of an attempt that says which attempt it
// is. The driver removes it.
const endKey = metadataKey + "_end"

// An end says which attempt has ended, and with which result, if it has one.
type end struct {
	Server  string  `json:"server"`
	Attempt string  `json:"attempt"`
	Result  *result `json:"result,omitempty"`
}

// serverSQL names the server and the table of jobs $1 in it: a database may also be restored on the
// same server.
const serverSQL = `extract(epoch FROM pg_catalog.pg_postmaster_start_time()) || ' ' ||
		(SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()) || ' ' || $1::text::regclass::oid`

// server names the server of a statement.
func server(ctx context.Context, on riverdriver.Executor, schema string) (name string, err error) {
	if err := on.QueryRow(ctx, "SELECT "+serverSQL, table(schema)).Scan(&name); err != nil {
		return "", fmt.Errorf("identify the server: %w", closedPool(err))
	}
	return name, nil
}

// closedPool makes River's error of that of a closed pool, as River's driver does for most of its
// statements. River does not try again then.
func closedPool(err error) error {
	if errors.Is(err, puddle.ErrClosedPool) {
		return fmt.Errorf("%w: %w", riverdriver.ErrClosedPool, err)
	}
	return err
}

// table returns the quoted name of River's table.
func table(schema string) string {
	if schema == "" {
		return "river_job"
	}
	return pgx.Identifier{schema, "river_job"}.Sanitize()
}

// JobGetAvailable fetches jobs, and tells their attempts the server. That is asked first: if it is
// replaced in between, the attempts belong to none.
func (e executor) JobGetAvailable(ctx context.Context, params *riverdriver.JobGetAvailableParams) (*riverdriver.JobGetAvailableResult, error) {
	from, err := server(ctx, e.Executor, params.Schema)
	if err != nil {
		return nil, err
	}
	result, err := e.Executor.JobGetAvailable(ctx, params)
	if err != nil {
		return nil, err
	}
	for _, row := range result.Jobs {
		row.Metadata = withServer(row.Metadata, from)
	}
	return result, nil
}

// withServer adds the server to the metadata of a job, if a Queue has inserted it.
func withServer(metadata []byte, server string) []byte {
	var all map[string]json.RawMessage
	if json.Unmarshal(metadata, &all) != nil || all[metadataKey] == nil {
		return metadata
	}
	name, err := json.Marshal(server)
	if err != nil {
		return metadata
	}
	all[serverKey] = name
	text, err := json.Marshal(all)
	if err != nil {
		return metadata
	}
	return text
}

// noteEnd makes River say, with the end of this attempt, which one it is. It returns the attempt's
// error.
func (p *progress) noteEnd(ctx context.Context, row *rivertype.JobRow, err error) error {
	if p.Server == "" {
		return err // River has another driver
	}
	if unnoted := river.MetadataSet(ctx, endKey, end{p.Server, attemptOf(row), p.Result}); unnoted != nil {
		return errors.Join(err, unnoted)
	}
	return err
}

// JobSetStateIfRunningMany stores the ends of attempts, and does so in a transaction, so that it
// knows on which server.
func (e executor) JobSetStateIfRunningMany(ctx context.Context, params *riverdriver.JobSetStateIfRunningManyParams) (rows []*rivertype.JobRow, err error) {
	ends, stored := takeEnds(params)
	if len(ends) == 0 {
		return e.Executor.JobSetStateIfRunningMany(ctx, params)
	}
	defer func() { err = closedPool(err) }()
	tx, err := e.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback(ctx) }() // does nothing after a commit
	valid, err := runAgain(ctx, tx, stored, ends)
	if err != nil {
		return nil, err
	}
	var kept []int
	for i, id := range stored.ID {
		if ends[id] == nil || valid[id] {
			kept = append(kept, i)
		}
	}
	if len(kept) > 0 {
		if rows, err = tx.JobSetStateIfRunningMany(ctx, only(stored, kept)); err != nil {
			return nil, err
		}
	}
	return rows, tx.Commit(ctx)
}

// takeEnds returns the ends that params have, by job, and params without them. If there is none,
// it returns params.
func takeEnds(params *riverdriver.JobSetStateIfRunningManyParams) (map[int64]*end, *riverdriver.JobSetStateIfRunningManyParams) {
	ends := make(map[int64]*end)
	rest := *params
	rest.MetadataDoMerge, rest.MetadataUpdates = slices.Clone(params.MetadataDoMerge), slices.Clone(params.MetadataUpdates)
	for i, id := range params.ID {
		if found, updates := takeEnd(params.MetadataUpdates[i]); found != nil {
			ends[id] = found
			rest.MetadataDoMerge[i], rest.MetadataUpdates[i] = updates != nil, updates
		}
	}
	if len(ends) == 0 {
		return nil, params
	}
	return ends, &rest
}

// takeEnd returns the end in updates of metadata, and the updates without it: nil if there are no
// others.
func takeEnd(updates []byte) (*end, []byte) {
	if !strings.Contains(string(updates), endKey) {
		return nil, updates
	}
	var all map[string]json.RawMessage
	var found end
	if json.Unmarshal(updates, &all) != nil || json.Unmarshal(all[endKey], &found) != nil {
		return nil, updates
	}
	delete(all, endKey)
	if len(all) == 0 {
		return &found, nil
	}
	rest, err := json.Marshal(all)
	if err != nil {
		return nil, updates
	}
	return &found, rest
}

// only returns the given rows of params: params itself if these are all.
func only(params *riverdriver.JobSetStateIfRunningManyParams, rows []int) *riverdriver.JobSetStateIfRunningManyParams {
	if len(rows) == len(params.ID) {
		return params
	}
	some := *params
	some.ID = pick(params.ID, rows)
	some.Attempt = pick(params.Attempt, rows)
	some.ErrData = pick(params.ErrData, rows)
	some.FinalizedAt = pick(params.FinalizedAt, rows)
	some.MetadataDoMerge = pick(params.MetadataDoMerge, rows)
	some.MetadataUpdates = pick(params.MetadataUpdates, rows)
	some.ScheduledAt = pick(params.ScheduledAt, rows)
	some.State = pick(params.State, rows)
	return &some
}

func pick[T any](all []T, rows []int) []T {
	some := make([]T, len(rows))
	for to, from := range rows {
		some[to] = all[from]
	}
	return some
}

// runAgain returns the jobs whose ends may be stored: they still have the attempt that has ended.
// An attempt is told apart by its time. If it has a result and has got its job from another server,
// runAgain makes the job available instead, with the result.
func runAgain(ctx context.Context, tx riverdriver.ExecutorTx, params *riverdriver.JobSetStateIfRunningManyParams, ends map[int64]*end) (map[int64]bool, error) {
	var ids []int64
	var attempts, servers []string
	var notes []*string
	for i, id := range params.ID {
		if e := ends[id]; e != nil {
			ids, attempts, servers, notes = append(ids, id), append(attempts, e.Attempt), append(servers, e.Server), append(notes, e.notes(params.MetadataUpdates[i]))
		}
	}
	jobs := table(params.Schema)
	statement := `WITH here AS (SELECT ` + serverSQL + ` AS server),
	ended AS (
		SELECT j.id, CASE WHEN u.server <> here.server THEN u.notes END AS notes
		FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[]) AS u(id, attempt, server, notes) CROSS JOIN here
		JOIN ` + jobs + ` AS j ON j.id = u.id AND (extract(epoch FROM j.attempted_at) * 1000000)::bigint::text = u.attempt
		ORDER BY j.id FOR NO KEY UPDATE OF j
	),
	again AS (
		UPDATE ` + jobs + ` AS j SET state = 'available', attempt = greatest(j.attempt - 1, 0), metadata = j.metadata || ended.notes::jsonb
		FROM ended WHERE j.id = ended.id AND ended.notes IS NOT NULL AND j.state = 'running'
	)
	SELECT coalesce(array_agg(id), '{}') FROM ended WHERE notes IS NULL`
	var found []int64
	if err := tx.QueryRow(ctx, statement, jobs, ids, attempts, servers, notes).Scan(&found); err != nil {
		return nil, fmt.Errorf("run jobs again whose results may be lost: %w", err)
	}
	valid := make(map[int64]bool, len(found))
	for _, id := range found {
		valid[id] = true
	}
	return valid, nil
}

// notes returns the updates of metadata for a job that is run again if its attempt's server is
// gone: the result is applied again, without a call. It returns nil if there is no result, because
// nothing that the attempt has done is lost then.
func (e *end) notes(updates []byte) *string {
	if e.Result == nil {
		return nil
	}
	all := make(map[string]any)
	if updates != nil && json.Unmarshal(updates, &all) != nil {
		clear(all)
	}
	all[resultKey] = e.Result
	text := "{}"
	if encoded, err := json.Marshal(all); err == nil { // as River has encoded them
		text = string(encoded)
	}
	return &text
}
