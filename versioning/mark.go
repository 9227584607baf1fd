package versioning

import "errors"

// A Mark says that every record of a partition below an offset is settled in the
// database.
type Mark struct {
	Topic     string
	TopicID   [16]byte // as in [Origin]
	Partition int32
	Offset    int64 // the offset of the next record

	// Last is used by a store's SetMarks. It is the offset that the caller last read
	// from or wrote to this mark, or 0 if there was none. A database with a lower
	// offset has lost commits.
	Last int64
}

// A Server identifies one run of a PostgreSQL server with one database and its table of
// marks. The value changes when a server restarts, when its standby takes over, or when
// the database or the framework's tables in it are restored from a backup: committed
// transactions may then be lost. Empty means none, or several.
type Server string

// ErrServerChanged says that the database is not the one in which the records were
// settled, or that it has lost some of those commits and maybe others too. Nothing was
// written. Read the marks and consume from there.
var ErrServerChanged = errors.New("the database server was restarted or replaced, or the database was restored, so commits may be lost; continue from its marks")
