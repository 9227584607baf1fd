package embedded_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/pawl-go/pawl/internal/embedded"
)

// parentVariable makes the test binary start a server, print its PID and wait
// until it is killed.
const parentVariable = "PAWL_TEST_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(parentVariable) != "" {
		parent()
	}
	goleak.VerifyTestMain(m)
}

func parent() {
	server, err := embedded.StartPostgres(context.Background(), embedded.PostgresConfig{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(server.PID())
	select {}
}
