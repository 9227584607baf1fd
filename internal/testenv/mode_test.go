package testenv

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPlan(t *testing.T) {
	t.Parallel()
	available := func() error { return nil }
	absent := func() error { return errNoDocker }
	unasked := func() error {
		t.Error("plan checked for Docker, which is slow, although it need not")
		return errNoDocker
	}
	for name, test := range map[string]struct {
		mode    mode
		address string
		docker  func() error
		want    []kind
		err     error
	}{
		"auto, a server is named":     {modeAuto, "there", unasked, []kind{kindServer}, nil},
		"auto, Docker":                {modeAuto, "", available, []kind{kindContainer, kindEmbedded}, nil},
		"auto, nothing":               {modeAuto, "", absent, []kind{kindEmbedded}, nil},
		"servers, one is named":       {modeServers, "there", unasked, []kind{kindServer}, nil},
		"servers, none is named":      {modeServers, "", unasked, nil, errNoAddress},
		"containers, Docker":          {modeContainers, "there", available, []kind{kindContainer}, nil},
		"containers, no Docker":       {modeContainers, "there", absent, nil, errNoDocker},
		"embedded, a server is named": {modeEmbedded, "there", unasked, []kind{kindEmbedded}, nil},
		"misspelt":                    {"container", "", unasked, nil, errUnknownMode},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := plan(test.mode, "A_VARIABLE", test.address, test.docker)
			if diff := cmp.Diff(test.want, got); diff != "" || !errors.Is(err, test.err) {
				t.Errorf("error %v, want %v; kinds (-want +got):\n%s", err, test.err, diff)
			}
		})
	}
}

func TestPlanErrorsNameTheVariables(t *testing.T) {
	t.Parallel()
	_, err := plan(modeServers, "A_VARIABLE", "", nil)
	if err == nil || !strings.Contains(err.Error(), "A_VARIABLE") || !strings.Contains(err.Error(), ModeVariable) {
		t.Errorf("the error does not say which variable to set: %v", err)
	}
}
