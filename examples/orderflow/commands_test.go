package main

import (
	"strings"
	"testing"
)

func TestUsageErrors(t *testing.T) {
	t.Setenv("KAFKA_BROKERS", "")
	t.Setenv("DATABASE_URL", "")
	const nobody = "127.0.0.1:1" // refuses connections
	for _, c := range []struct {
		args string
		want []string // parts of the error
	}{
		{"prodcue", []string{"unknown command", "produce"}},
		{"demo now", []string{"unknown command"}},
		{"--orders=0", []string{"--orders", "got 0"}},
		{"--orders=many", []string{"--orders"}},
		{"--no-such-flag", []string{"--no-such-flag"}},
		{"demo --orders=-1", []string{"--orders"}},
		{"produce --brokers=" + nobody + " --orders=0", []string{"--orders"}},
		{"worker", []string{"--brokers", "--database-url"}},
		{"carrier", []string{"--brokers", "--database-url"}},
		{"provider --listen=nowhere", []string{"nowhere"}},
		{"check", []string{"--database-url", "DATABASE_URL"}},
		{"check --file=nosuch.json", []string{"nosuch.json"}},
		{"migrate-entities", []string{"--database-url", "DATABASE_URL"}},
		{"migrate-entities invoice", []string{"invoice", "order", "payment"}},
		{"graph invoice", []string{"invoice"}},
		{"worker --brokers=" + nobody, []string{"--database-url"}},
		{"produce", []string{"--brokers", "KAFKA_BROKERS"}},
		{"migrate", []string{"migrate up", "migrate down"}},
		{"migrate up", []string{"--database-url", "DATABASE_URL"}},
		{"dead-letters list", []string{"--database-url"}},
		{"dead-letters show x --database-url=postgres://u:secret@" + nobody + "/db", []string{"refused"}},
		{"dead-letters show", []string{"arg"}},
		{"migrate sideways", []string{"unknown command"}},
		{"graph --format=svg", []string{"svg", "mermaid", "graphviz"}},
		{"--brokers=" + nobody, []string{"no Kafka broker answered at " + nobody, "--brokers", "KAFKA_BROKERS"}},
		{"produce --brokers=" + nobody, []string{"no Kafka broker answered at " + nobody}},
		{"--database-url=postgres://u:secret@" + nobody + "/db", []string{"--database-url", "DATABASE_URL", "refused"}},
		{"--database-url=nonsense", []string{"--database-url", "invalid database URL"}},
		{"worker --brokers=" + nobody + " --database-url=postgres://u:secret@" + nobody + "/db", []string{"connect to PostgreSQL", "refused"}},
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

// TestHelpKeepsSecrets checks that help does not print values from the
// environment.
func TestHelpKeepsSecrets(t *testing.T) {
	t.Setenv("DATABASE_URL", "postgres://u:secret@localhost/db")
	stdout, stderr, err := execute(t, "--help")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(stdout+stderr, "secret") {
		t.Errorf("help reveals the password:\n%s%s", stdout, stderr)
	}
}
