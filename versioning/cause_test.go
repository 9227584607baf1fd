package versioning_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/pawl-go/pawl/versioning"
)

// TestCauseOf checks that CauseOf and errors.Is agree on the cause of an error.
func TestCauseOf(t *testing.T) {
	t.Parallel()
	sentinels := map[versioning.Cause]error{
		versioning.Infrastructure: versioning.ErrInfrastructure, versioning.Data: versioning.ErrData, versioning.Fatal: versioning.ErrFatal,
	}
	for cause := range sentinels {
		err := fmt.Errorf("apply: %w", &versioning.Error{Cause: cause, Err: io.EOF})
		if got := versioning.CauseOf(err); got != cause || !errors.Is(err, io.EOF) {
			t.Errorf("CauseOf = %v, want %v", got, cause)
		}
		for other, sentinel := range sentinels {
			if errors.Is(err, sentinel) != (other == cause) {
				t.Errorf("an error with cause %v is %v: %t", cause, sentinel, other != cause)
			}
		}
	}
	if got := versioning.CauseOf(io.EOF); got != versioning.Infrastructure {
		t.Errorf("CauseOf another error = %v, want infrastructure", got)
	}
	if got := versioning.CauseOf(nil); got != versioning.NoCause {
		t.Errorf("CauseOf(nil) = %v, want none", got)
	}
}

func TestCauseStrings(t *testing.T) {
	t.Parallel()
	for value, want := range map[fmt.Stringer]string{
		versioning.NoCause: "none", versioning.Infrastructure: "infrastructure", versioning.Data: "data",
		versioning.Fatal: "fatal", versioning.Cause(9): "unknown",
		versioning.Undecided: "undecided", versioning.Diverged: "diverged", versioning.Verdict(99): "verdict(99)",
		versioning.ByMessage: "by message", versioning.ByVersion: "by version", versioning.ByState: "by state",
		versioning.Identity(9): "identity(9)",
		versioning.At(3):       "3", versioning.Expected{}: "any",
	} {
		if got := value.String(); got != want {
			t.Errorf("%#v is %q, want %q", value, got, want)
		}
	}
}
