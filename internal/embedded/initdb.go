package embedded

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
)

const superuser = "postgres"

// initdb creates the data directory and the superuser, and returns the
// superuser's password.
func (s *Postgres) initdb(ctx context.Context) (password string, err error) {
	password = rand.Text()
	if err := s.writePassword(password); err != nil {
		return "", err
	}
	args := []string{
		"--pgdata=" + s.dir.data(),
		"--username=" + superuser,
		"--pwfile=" + s.dir.password(),
		"--auth=scram-sha-256",
		"--encoding=UTF8",
		"--locale=C",
	}
	if !s.cfg.Durable {
		args = append(args, "--no-sync")
	}
	if err := s.run(ctx, "initdb", args...); err != nil {
		return "", err
	}
	return password, os.Remove(s.dir.password())
}

// writePassword writes the password to a file that only the server's account
// can read.
func (s *Postgres) writePassword(password string) error {
	if err := os.WriteFile(s.dir.password(), []byte(password), 0o600); err != nil {
		return err
	}
	return s.account.chown(s.dir.password())
}

// run runs one of the server's programs and waits for it to end.
func (s *Postgres) run(ctx context.Context, name string, args ...string) error {
	program := filepath.Join(s.binDir, name)
	p, err := s.launch(program, args...)
	if err != nil {
		return err
	}
	if err := p.wait(ctx); err != nil {
		return &ServerError{Program: program, Log: tail(s.dir.log()), Err: err}
	}
	return nil
}

// launch starts one of the server's programs with its output sent to the log.
func (s *Postgres) launch(program string, args ...string) (*process, error) {
	log, err := os.OpenFile(s.dir.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the program has its own descriptor
	p, err := spawn(command(s.account, log, s.dir.path, program, args...))
	if err != nil {
		return nil, &ServerError{Program: program, Err: err}
	}
	return p, nil
}
