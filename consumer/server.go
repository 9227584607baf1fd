package consumer

import (
	"cmp"
	"errors"
	"sync"

	"github.com/pawl-go/pawl/versioning"
)

// errStartOver ends a run that has to go back to the marks. The database is on another server
// than the one that has settled the records of this run, and may have lost some of them. The
// next run joins the group as a new member, which reads the marks.
var errStartOver = errors.New("the database server has changed")

// A base is the first database server that the run has read marks from. The run applies
// records only on that server. A base is safe for concurrent use.
type base struct {
	*shared

	mu      sync.Mutex
	now     versioning.Server // empty: none yet
	changed bool
}

// check records that marks were read from a server. If an earlier server of the run was
// another one, it makes the run start over and returns false.
func (b *base) check(server versioning.Server) bool {
	b.mu.Lock()
	changed := b.now != "" && b.now != server
	b.now = cmp.Or(b.now, server)
	b.mu.Unlock()
	if changed {
		b.startOver()
	}
	return !changed
}

// startOver ends the run because the database is on another server. The worker then starts
// the next run.
func (b *base) startOver() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.changed {
		b.changed = true
		b.log.serverChanged()
		b.end(errStartOver)
	}
}

func (b *base) server() versioning.Server {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}
