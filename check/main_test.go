package check_test

import (
	"testing"

	"github.com/pawl-go/pawl/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m, testenv.CheckLeaks()) }
