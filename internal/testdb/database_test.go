package testdb

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestURL(t *testing.T) {
	t.Parallel()
	for name, server := range map[string]string{
		"url":                                    "postgres://u:p%40@h:1234/old?sslmode=disable",
		"url with a parameter":                   "postgresql://u:p%40@h:1234/?dbname=old&sslmode=disable",
		"url with nothing":                       "postgres://u:p%40@h:1234?sslmode=disable",
		"keywords":                               "host=h port=1234 user=u password=p@ dbname=old sslmode=disable",
		"keywords, no database":                  "host=h port=1234 user=u password=p@ sslmode=disable",
		"url, with database= instead of dbname=": "postgres://u:p%40@h:1234/?database=old&sslmode=disable",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := pgx.ParseConfig(URL(server, "new"))
			if err != nil {
				t.Fatal(err)
			}
			if got.Database != "new" || got.Host != "h" || got.Port != 1234 || got.User != "u" || got.Password != "p@" {
				t.Errorf("%+v", got.Config)
			}
		})
	}
}

func TestUniqueName(t *testing.T) {
	t.Parallel()
	hint := strings.Repeat("Test/Ünïcode and more ", 10)
	first, second := UniqueName(hint), UniqueName(hint)
	if first == second {
		t.Errorf("%s twice", first)
	}
	if len(first) > 63 {
		t.Errorf("%s has %d bytes; PostgreSQL allows 63", first, len(first))
	}
	if strings.Trim(first, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		t.Errorf("%s contains characters that need quoting", first)
	}
}
