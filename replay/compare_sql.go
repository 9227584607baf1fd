package replay

// wasGiven is true for a step h of the history that was taken as it is. fromElsewhere is true for one
// that no record has made that was read.
const wasGiven = `EXISTS (SELECT FROM {anew}.given AS g WHERE g.machine = h.machine AND g.entity = h.entity AND g.version = h.version)`

const fromElsewhere = `NOT EXISTS (
	SELECT FROM {anew}.ranges AS r WHERE r.topic_id = h.topic_id AND r.partition = h.partition AND h."offset" >= r.first AND h."offset" < r.last
)`

const (
	// cutSQL finds the first step of each entity that comes from elsewhere. What follows it can't
	// be compared.
	cutSQL = `
INSERT INTO {anew}.cut
SELECT h.machine, h.entity, min(h.version) FROM {live}.transitions AS h WHERE h.machine = ANY ($1) AND ` + fromElsewhere + ` AND NOT ` + wasGiven + ` GROUP BY 1, 2`

	// olderSQL finds the entities whose history begins in the middle, if the copies do not have the
	// step before that: the rows are older than the history and what was read.
	olderSQL = `
INSERT INTO {anew}.cut
SELECT h.machine, h.entity, 1 FROM (
	SELECT machine, entity, min(version) AS version FROM {live}.transitions WHERE machine = ANY ($1) GROUP BY 1, 2 HAVING min(version) > 1
) AS h WHERE NOT EXISTS (SELECT FROM {anew}.transitions AS t WHERE t.machine = h.machine AND t.entity = h.entity AND t.version = h.version - 1)
ON CONFLICT (machine, entity) DO UPDATE SET version = excluded.version`

	// otherSQL finds the first step of each entity of machine $1 that another version of the
	// machine than $2 has made and that this one does not make.
	otherSQL = `
INSERT INTO {anew}.cut
SELECT l.machine, l.entity, min(l.version) FROM {live}.transitions AS l
LEFT JOIN {anew}.transitions AS t ON t.machine = l.machine AND t.entity = l.entity AND t.version = l.version
WHERE l.machine = $1 AND l.definition_version <> $2
	AND (l.event, {from}, {to}, l.message_id) IS DISTINCT FROM (t.event, t.from_state, t.to_state, t.message_id)
GROUP BY 1, 2
ON CONFLICT (machine, entity) DO UPDATE SET version = least(cut.version, excluded.version)`

	// sharedSQL finds the steps of records with several entities, live or of the copies.
	sharedSQL = `
INSERT INTO {anew}.shared
WITH steps AS MATERIALIZED (
	SELECT topic_id, partition, "offset", machine, entity, version FROM {live}.transitions WHERE machine = ANY ($1)
	UNION ALL
	SELECT topic_id, partition, "offset", machine, entity, version FROM {anew}.transitions
)
SELECT h.topic_id, h.partition, h."offset", h.machine, h.entity, min(h.version)
FROM steps AS h JOIN (
	SELECT topic_id, partition, "offset" FROM steps
	GROUP BY 1, 2, 3 HAVING (min(machine), min(entity)) <> (max(machine), max(entity))
) AS o ON o.topic_id = h.topic_id AND o.partition = h.partition AND o."offset" = h."offset"
GROUP BY 1, 2, 3, 4, 5`

	// spreadSQL finds the entities with a step of a record that also makes a step of another
	// entity, one that can't be compared: the copies have neither of them.
	spreadSQL = `
INSERT INTO {anew}.cut
SELECT s.machine, s.entity, min(s.version) FROM {anew}.shared AS s
JOIN {anew}.shared AS o ON o.topic_id = s.topic_id AND o.partition = s.partition AND o."offset" = s."offset" AND (o.machine, o.entity) <> (s.machine, s.entity)
JOIN {anew}.cut AS c ON c.machine = o.machine AND c.entity = o.entity AND o.version >= c.version
LEFT JOIN {anew}.cut AS own ON own.machine = s.machine AND own.entity = s.entity
WHERE own.version IS NULL OR s.version < own.version
GROUP BY 1, 2
ON CONFLICT (machine, entity) DO UPDATE SET version = excluded.version`

	// pathSQL finds the first step of each entity that differs.
	pathSQL = `
INSERT INTO {anew}.found (machine, entity, path)
SELECT $1, d.entity, min(d.version) FROM (
	SELECT coalesce(l.entity, t.entity) AS entity, coalesce(l.version, t.version) AS version
	FROM (SELECT entity, version, event, {from} AS from_state, {to} AS to_state, message_id FROM {live}.transitions AS l WHERE machine = $1) AS l
	FULL JOIN (SELECT entity, version, event, from_state, to_state, message_id FROM {anew}.transitions WHERE machine = $1) AS t
		ON l.entity = t.entity AND l.version = t.version
	WHERE (l.event, l.from_state, l.to_state, l.message_id) IS DISTINCT FROM (t.event, t.from_state, t.to_state, t.message_id)
) AS d LEFT JOIN {anew}.cut AS c ON c.machine = $1 AND c.entity = d.entity
WHERE c.version IS NULL OR d.version < c.version
GROUP BY d.entity`

	// sizesSQL counts the entities, those with steps from elsewhere, and the steps.
	sizesSQL = `
SELECT (SELECT count(*) FROM %[2]s), (SELECT count(*) FROM %[1]s.cut WHERE machine = $1), (SELECT count(*) FROM %[1]s.transitions WHERE machine = $1),
	(SELECT count(*) FROM %[1]s.given WHERE machine = $1),
	(SELECT count(*) FROM %[3]s AS l WHERE NOT EXISTS (SELECT FROM %[1]s.cut AS c WHERE c.machine = $1 AND c.entity = l.%[4]s::text))`
)
