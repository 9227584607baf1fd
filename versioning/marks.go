package versioning

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A Mark says that everything below an offset of a partition is settled in the
// database: each of its records has its verdict.
type Mark struct {
	Topic     string
	TopicID   [16]byte // as in [Origin]
	Partition int32
	Offset    int64 // of the next record
}

// A Server is one run of a PostgreSQL server, from its start to its end. Two values
// differ where a server was restarted, or restored from a backup, or where its standby
// has taken over: what was committed before may be lost. Empty is none, or several.
type Server string

// ErrServerChanged says that the database is not on the server that has settled the
// records, which may have taken them along. Nothing was written: read the marks, and
// consume from there.
var ErrServerChanged = errors.New("the database server was restarted or replaced, and may have lost commits; go on from its marks")

// serverSQL is a Server. The time at which the server started is the best that any
// role may ask for, through any pooler.
const serverSQL = `extract(epoch FROM pg_catalog.pg_postmaster_start_time())::text`

// marksSQL reads the marks of group $1 on topics with the IDs $2, with the server in
// each row, and in one if there is no mark.
const marksSQL pawlSQL = `
SELECT s.server, m.topic, m.topic_id, m.partition, m."offset"
FROM (SELECT ` + serverSQL + ` AS server) AS s
LEFT JOIN pawl.marks AS m ON m."group" = $1 AND m.topic_id = ANY ($2::uuid[])`

// setMarksSQL writes marks of group $1 if the server is $2, and returns which it is.
// It is one statement, and so one transaction: COMMIT waits for a synchronous standby.
const setMarksSQL pawlSQL = `
WITH here AS MATERIALIZED (
	SELECT ` + serverSQL + ` AS server
), written AS (
	INSERT INTO pawl.marks ("group", topic, topic_id, partition, "offset")
	SELECT $1, u.topic, u.topic_id, u.partition, u."offset"
	FROM here CROSS JOIN unnest($3::text[], $4::uuid[], $5::integer[], $6::bigint[]) AS u(topic, topic_id, partition, "offset")
	WHERE here.server = $2
	ORDER BY u.topic_id, u.partition
	ON CONFLICT ("group", topic_id, partition) DO UPDATE SET "offset" = excluded."offset", topic = excluded.topic, at = now()
)
SELECT server FROM here`

// Marks returns the marks of a consumer group on the topics with the given IDs, and the
// server that they were read from. A partition that has none is left out.
func (s *Store) Marks(ctx context.Context, group string, topicIDs [][16]byte) (marks []Mark, server Server, err error) {
	ids := make([]pgtype.UUID, len(topicIDs))
	for i, id := range topicIDs {
		ids[i] = pgtype.UUID{Bytes: id, Valid: true}
	}
	err = connected(ctx, s.pool, func(conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, s.schema.sql(marksSQL), alone, group, ids)
		if err != nil {
			return err
		}
		var topic pgtype.Text
		var id pgtype.UUID
		var partition pgtype.Int4
		var offset pgtype.Int8
		_, err = pgx.ForEachRow(rows, []any{&server, &topic, &id, &partition, &offset}, func() error {
			if topic.Valid {
				marks = append(marks, Mark{topic.String, id.Bytes, partition.Int32, offset.Int64})
			}
			return nil
		})
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("read the marks of group %q: %w", group, err)
	}
	return marks, server, nil
}

// SetMarks notes how far a group has settled partitions, each of them once. The server
// is the one that Marks has returned, and on which all has been applied since. If the database is on another one by now, SetMarks writes
// nothing and returns [ErrServerChanged]; without marks, that is all it looks for.
//
// It returns once the marks are as durable as what they speak of: it waits for a
// synchronous standby, if there is one. Only after that may the offsets be committed to
// Kafka. Then they are never ahead of the marks, unless the database has lost some.
func (s *Store) SetMarks(ctx context.Context, group string, server Server, marks []Mark) error {
	topics, ids := make([]string, len(marks)), make([]pgtype.UUID, len(marks))
	partitions, offsets := make([]int32, len(marks)), make([]int64, len(marks))
	for i, m := range marks {
		topics[i], ids[i] = m.Topic, pgtype.UUID{Bytes: m.TopicID, Valid: true}
		partitions[i], offsets[i] = m.Partition, m.Offset
	}
	var now Server
	err := connected(ctx, s.pool, func(conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, s.schema.sql(setMarksSQL), alone,
			group, string(server), topics, ids, partitions, offsets).Scan(&now)
	})
	switch {
	case err != nil:
	case ctx.Err() != nil:
		err = ctx.Err() // see transaction.finish
	case now != server:
		err = ErrServerChanged
	}
	if err != nil {
		return fmt.Errorf("mark how far group %q has come: %w", group, err)
	}
	return nil
}
