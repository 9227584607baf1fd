package versioning

import "errors"

// A Mark says that everything below an offset of a partition is settled in the
// database: each of its records has its verdict.
type Mark struct {
	Topic     string
	TopicID   [16]byte // as in [Origin]
	Partition int32
	Offset    int64 // of the next record

	// Last is for a store's SetMarks: the offset that the caller has last read from, or written to,
	// this mark; 0 if there was none. A database that has less has lost commits.
	Last int64
}

// A Server is one run of a PostgreSQL server, from its start to its end, with one
// database and its table of marks. Two values differ where a server was restarted, where
// its standby has taken over, or where the database, or the framework's tables in it,
// were restored from a backup: what was committed before may be lost. Empty is none, or
// several.
type Server string

// ErrServerChanged says that the database is not the one that has settled the records, or
// has lost some of that, and may have taken more along. Nothing was written: read the
// marks, and consume from there.
var ErrServerChanged = errors.New("the database server was restarted or replaced, or the database restored, and may have lost commits; go on from its marks")
