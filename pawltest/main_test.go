package pawltest_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/pawltest"
)

var (
	_ pawltest.TB = (*testing.B)(nil)
	_ pawltest.TB = (*rapid.T)(nil)
)

// TestMain checks that nothing is left when the server is closed.
func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		pawltest.Postgres(&printer{}, database)
		os.Exit(0) // without ClosePostgres
	}
	code := m.Run()
	if err := pawltest.ClosePostgres(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}
