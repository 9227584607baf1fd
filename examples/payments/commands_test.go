package main

import (
	"strings"
	"testing"
)

func TestUsageErrors(t *testing.T) {
	t.Setenv("DATABASE_URL", "")
	const nobody = "127.0.0.1:1" // refuses connections
	for _, c := range []struct {
		args string
		want []string // parts of the error
	}{
		{"dmeo", []string{"unknown command", "demo"}},
		{"demo now", []string{"unknown command"}},
		{"--payments=0", []string{"--payments"}},
		{"--accounts=1", []string{"--accounts"}},
		{"--no-such-flag", []string{"--no-such-flag"}},
		{"worker", []string{"--brokers"}},
		{"worker --brokers=" + nobody, []string{"--database-url", "DATABASE_URL"}},
		{"worker --brokers=" + nobody + " --database-url=postgres://u:secret@" + nobody + "/db", []string{"connect to PostgreSQL", "refused"}},
		{"serve", []string{"--database-url", "DATABASE_URL"}},
		{"serve --database-url=postgres://u:secret@" + nobody + "/db", []string{"API_CALLERS", "name=token"}},
		{"migrate", []string{"migrate up", "migrate down"}},
		{"migrate up", []string{"--database-url", "DATABASE_URL"}},
		{"migrate up --database-url=postgres://u:secret@" + nobody + "/db", []string{"refused"}},
	} {
		t.Run(c.args, func(t *testing.T) {
			_, _, err := execute(t, strings.Fields(c.args)...)
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not contain %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("error %q reveals the password", err)
			}
		})
	}
}
