package embedded

import (
	"context"
	"errors"
	"fmt"
)

// Backup takes a base backup of the running server with pg_basebackup. The
// result is a separate server with the same configuration and password that is
// not running yet; Restart starts it. The caller must close both.
func (s *Postgres) Backup(ctx context.Context) (*Postgres, error) {
	return s.copy(ctx, "take a base backup")
}

// Standby starts a standby of the running server. It can be read and, once
// promoted, written. The caller must close both.
//
// Replication is asynchronous unless the server's synchronous_standby_names
// setting says otherwise.
func (s *Postgres) Standby(ctx context.Context) (*Postgres, error) {
	standby, err := s.copy(ctx, "start a standby", "--write-recovery-conf")
	if err != nil {
		return nil, err
	}
	if err := standby.Restart(ctx); err != nil {
		return nil, fmt.Errorf("start a standby: %w", errors.Join(err, standby.Close()))
	}
	return standby, nil
}

// copy creates another server from the running one's data.
func (s *Postgres) copy(ctx context.Context, what string, args ...string) (*Postgres, error) {
	ctx, cancel := withDeadline(ctx, startTimeout)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("%s: %w", what, ErrClosed)
	}
	dir, err := newWorkdir(s.account, s.cfg.tempDirs())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	other := &Postgres{cfg: s.cfg, account: s.account, binDir: s.binDir, dir: dir, password: s.password}
	args = append(args, "--dbname="+s.url(), "--pgdata="+dir.data(), "--checkpoint=fast")
	if !s.cfg.Durable {
		args = append(args, "--no-sync")
	}
	if err := other.run(ctx, "pg_basebackup", args...); err != nil {
		return nil, fmt.Errorf("%s: %w", what, errors.Join(err, other.Close()))
	}
	return other, nil
}
