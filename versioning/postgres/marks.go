package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/versioning"
)

// serverFormat is an SQL expression for a Server, with the quoted name of the
// framework's schema for %s. The start time of the server is the best identification
// that any role can read, through any pooler. The name is not a parameter, because
// every transaction runs the query and PostgreSQL plans a statement without parameters
// only once.
const serverFormat = `extract(epoch FROM pg_catalog.pg_postmaster_start_time()) || ' ' ||
       (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()) || ' ' || coalesce(pg_catalog.to_regclass('%s.marks')::oid, 0)`

// marksSQL reads the marks of group $1 on topics with the IDs $2. Each row has the
// server. If there are no marks, one row has the server alone.
func (s *schema) marksSQL() string {
	return fmt.Sprintf(`
SELECT s.server, m.topic, m.topic_id, m.partition, m."offset"
FROM (SELECT %s AS server) AS s
LEFT JOIN %s.marks AS m ON m."group" = $1 AND m.topic_id = ANY ($2::uuid[])`, s.serverSQL, s.quoted)
}

// setMarksSQL writes marks of group $1 if the server is $2 and no mark is below its
// last value. It returns the current server and whether a mark is below its last value.
// A mark that is above its last value is never lowered: another worker, which owned the
// partition before or owns it now, has settled what is below it.
//
// It is one statement, so it is one transaction, and COMMIT waits for a synchronous
// standby.
func (s *schema) setMarksSQL() string {
	return fmt.Sprintf(`
WITH here AS MATERIALIZED (
	SELECT %[1]s AS server
), given AS MATERIALIZED (
	SELECT * FROM unnest($3::text[], $4::uuid[], $5::integer[], $6::bigint[], $7::bigint[]) AS u(topic, topic_id, partition, "offset", last)
), locked AS MATERIALIZED (
	SELECT m.topic_id, m.partition, m."offset" FROM %[2]s.marks AS m JOIN given AS g ON m.topic_id = g.topic_id AND m.partition = g.partition
	WHERE m."group" = $1 ORDER BY m.topic_id, m.partition FOR UPDATE OF m
), found AS MATERIALIZED (
	SELECT g.*, coalesce(l."offset", 0) AS now FROM given AS g LEFT JOIN locked AS l ON l.topic_id = g.topic_id AND l.partition = g.partition
), written AS (
	INSERT INTO %[2]s.marks ("group", topic, topic_id, partition, "offset")
	SELECT $1, topic, topic_id, partition, CASE WHEN now > last THEN greatest(now, "offset") ELSE "offset" END
	FROM here CROSS JOIN found WHERE here.server = $2 AND NOT EXISTS (SELECT FROM found WHERE now < last)
	ORDER BY topic_id, partition
	ON CONFLICT ("group", topic_id, partition) DO UPDATE SET "offset" = excluded."offset", topic = excluded.topic, at = now()
)
SELECT server, EXISTS (SELECT FROM found WHERE now < last) FROM here`, s.serverSQL, s.quoted)
}

// Marks returns the marks of a consumer group on the topics with the given IDs, and the
// server that they were read from. Partitions without a mark are left out.
func (s *Store) Marks(ctx context.Context, group string, topicIDs [][16]byte) (marks []versioning.Mark, server versioning.Server, err error) {
	ids := make([]pgtype.UUID, len(topicIDs))
	for i, id := range topicIDs {
		ids[i] = pgtype.UUID{Bytes: id, Valid: true}
	}
	err = connected(ctx, s.pool, func(conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, s.schema.marksSQL(), oneMessage, group, ids)
		if err != nil {
			return err
		}
		var topic pgtype.Text
		var id pgtype.UUID
		var partition pgtype.Int4
		var offset pgtype.Int8
		_, err = pgx.ForEachRow(rows, []any{&server, &topic, &id, &partition, &offset}, func() error {
			if topic.Valid {
				marks = append(marks, versioning.Mark{Topic: topic.String, TopicID: id.Bytes, Partition: partition.Int32, Offset: offset.Int64})
			}
			return nil
		})
		return err
	})
	if err != nil {
		return nil, "", withCause(fmt.Errorf("read the marks of group %q: %w", group, err))
	}
	return marks, server, nil
}

// SetMarks stores up to where a group has settled partitions, each of them once. The
// server is the one that Marks returned, and everything since must have been applied on
// it. If the database is now on another server, or one of its marks is below Last,
// SetMarks writes nothing and returns [ErrServerChanged]. Without marks, it only checks
// the server.
//
// SetMarks returns once the marks are as durable as the records they cover: it waits
// for a synchronous standby, if there is one. Commit the offsets to Kafka only after
// that. Then committed offsets are never ahead of the marks, unless the database has
// lost some.
func (s *Store) SetMarks(ctx context.Context, group string, server versioning.Server, marks []versioning.Mark) error {
	topics, ids := make([]string, len(marks)), make([]pgtype.UUID, len(marks))
	partitions, offsets, last := make([]int32, len(marks)), make([]int64, len(marks)), make([]int64, len(marks))
	for i, m := range marks {
		topics[i], ids[i] = m.Topic, pgtype.UUID{Bytes: m.TopicID, Valid: true}
		partitions[i], offsets[i], last[i] = m.Partition, m.Offset, m.Last
	}
	var now versioning.Server
	var behind bool
	err := connected(ctx, s.pool, func(conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, s.schema.setMarksSQL(), oneMessage,
			group, string(server), topics, ids, partitions, offsets, last).Scan(&now, &behind)
	})
	switch {
	case err != nil:
	case ctx.Err() != nil:
		err = ctx.Err() // see transaction.finish
	case now != server, behind:
		err = versioning.ErrServerChanged
	}
	if err != nil {
		return withCause(fmt.Errorf("set the marks of group %q: %w", group, err))
	}
	return nil
}
