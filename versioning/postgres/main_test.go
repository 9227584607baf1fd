package postgres_test

import (
	"os"
	"testing"

	"github.com/pawl-go/pawl/internal/testenv"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(migrateVariable); url != "" {
		runMigrate(url)
		return
	}
	testenv.Main(m, testenv.CheckLeaks())
}
