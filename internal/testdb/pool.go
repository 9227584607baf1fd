package testdb

import (
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// PoolCloseTimeout is how long to wait at the end of a test for connections that the test has not
// released.
const PoolCloseTimeout = 10 * time.Second

// ClosePool closes a pool, which waits for connections in use, but not longer than it says.
func ClosePool(pool *pgxpool.Pool, within time.Duration) error {
	closed := make(chan struct{})
	go func() {
		pool.Close()
		close(closed)
	}()
	select {
	case <-closed:
		return nil
	case <-time.After(within):
		return fmt.Errorf("%d connections of the pool were not released within %v after the test", pool.Stat().AcquiredConns(), within)
	}
}
