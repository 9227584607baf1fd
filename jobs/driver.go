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
// only on the server from which the attempt got its job. On another one, the job is run again, if
// it is still there: with the result of the attempt, and without another call, or else as after a
// lost answer.
//
// That takes a round trip for each fetch, and three for each time at which River stores the ends
// of attempts. Jobs that were not inserted by a [Queue] are not affected.
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

// server names the server and the table of jobs in it: a database may also be restored on the same
// server.
func server(ctx context.Context, on riverdriver.Executor, schema string) (name string, err error) {
	const query = `SELECT extract(epoch FROM pg_catalog.pg_postmaster_start_time()) || ' ' ||
		(SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()) || ' ' || $1::text::regclass::oid`
	if err := on.QueryRow(ctx, query, table(schema)).Scan(&name); err != nil {
		return "", fmt.Errorf("identify the server: %w", err)
	}
	return name, nil
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
	ends := make([]*end, len(params.ID))
	known := false
	stored := *params
	stored.MetadataDoMerge, stored.MetadataUpdates = slices.Clone(params.MetadataDoMerge), slices.Clone(params.MetadataUpdates)
	for i := range params.ID {
		if ends[i], stored.MetadataUpdates[i] = takeEnd(params.MetadataUpdates[i]); ends[i] != nil {
			known = true
			stored.MetadataDoMerge[i] = stored.MetadataUpdates[i] != nil
		}
	}
	if !known {
		return e.Executor.JobSetStateIfRunningMany(ctx, params)
	}
	tx, err := e.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback(ctx) }() // does nothing after a commit
	here, err := server(ctx, tx, params.Schema)
	if err != nil {
		return nil, err
	}
	if err := runAgain(ctx, tx, &stored, ends, here); err != nil {
		return nil, err
	}
	if len(stored.ID) > 0 {
		if rows, err = tx.JobSetStateIfRunningMany(ctx, &stored); err != nil {
			return nil, err
		}
	}
	return rows, tx.Commit(ctx)
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

// runAgain removes from params the ends of attempts that got their jobs from another server, and
// makes those of their jobs available that are still there. An attempt is told apart by its time.
// What it has noted about its call is kept.
func runAgain(ctx context.Context, tx riverdriver.ExecutorTx, params *riverdriver.JobSetStateIfRunningManyParams, ends []*end, here string) error {
	var ids []int64
	var attempts, notes []string
	kept := riverdriver.JobSetStateIfRunningManyParams{Now: params.Now, Schema: params.Schema}
	for i, id := range params.ID {
		if e := ends[i]; e != nil && e.Server != here {
			ids, attempts, notes = append(ids, id), append(attempts, e.Attempt), append(notes, e.notes(params.MetadataUpdates[i]))
			continue
		}
		kept.ID = append(kept.ID, id)
		kept.Attempt = append(kept.Attempt, params.Attempt[i])
		kept.ErrData = append(kept.ErrData, params.ErrData[i])
		kept.FinalizedAt = append(kept.FinalizedAt, params.FinalizedAt[i])
		kept.MetadataDoMerge = append(kept.MetadataDoMerge, params.MetadataDoMerge[i])
		kept.MetadataUpdates = append(kept.MetadataUpdates, params.MetadataUpdates[i])
		kept.ScheduledAt = append(kept.ScheduledAt, params.ScheduledAt[i])
		kept.State = append(kept.State, params.State[i])
	}
	*params = kept
	if len(ids) == 0 {
		return nil
	}
	statement := `UPDATE ` + table(params.Schema) + ` AS j
		SET state = 'available', attempt = greatest(j.attempt - 1, 0), metadata = j.metadata || u.notes::jsonb
		FROM unnest($1::bigint[], $2::text[], $3::text[]) AS u(id, attempt, notes)
		WHERE j.id = u.id AND j.state = 'running' AND (extract(epoch FROM j.attempted_at) * 1000000)::bigint::text = u.attempt`
	if err := tx.Exec(ctx, statement, ids, attempts, notes); err != nil {
		return fmt.Errorf("run jobs again whose results may be lost: %w", err)
	}
	return nil
}

// notes returns the updates of metadata for a job that is run again because of its attempt's
// server. If the attempt has a result, that is applied again, without a call. Otherwise it may
// have made the call, unless it says that it did not.
func (e *end) notes(updates []byte) string {
	all := make(map[string]any)
	if updates != nil && json.Unmarshal(updates, &all) != nil {
		clear(all)
	}
	if e.Result != nil {
		all[resultKey] = e.Result
	} else if all[noneCalledKey] == nil {
		all[calledKey] = e.Attempt
	}
	text, err := json.Marshal(all)
	if err != nil {
		return "{}" // River has encoded them, so this does not happen
	}
	return string(text)
}
