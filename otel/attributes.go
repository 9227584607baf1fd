package otel

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/pawl-go/pawl/versioning"
)

// The attributes of Pawl.
const (
	machineKey   = attribute.Key("pawl.machine")
	verdictKey   = attribute.Key("pawl.verdict")
	reasonKey    = attribute.Key("pawl.reason")
	eventKey     = attribute.Key("pawl.event")
	taskKey      = attribute.Key("pawl.task")
	stateKey     = attribute.Key("pawl.state")
	parkedKey    = attribute.Key("pawl.parked")
	backendKey   = attribute.Key("pawl.gateway.backend")
	operationKey = attribute.Key("pawl.gateway.operation")
	outcomeAttr  = attribute.Key("pawl.gateway.outcome")
)

// errorTypes limits how many types of errors are told apart. The conventions have a name for the
// others.
const (
	maxErrorTypes = 50
	otherError    = "_OTHER"
)

// errorType names an error in one word: the SQLSTATE if the database has answered with one.
func (o *Observer) errorType(err error) attribute.KeyValue {
	name := o.errors.bound(errorName(err))
	if name == other {
		name = otherError
	}
	return semconv.ErrorTypeKey.String(name)
}

func errorName(err error) string {
	var code interface{ SQLState() string }
	switch {
	case errors.Is(err, versioning.ErrContended):
		return "contended"
	case errors.As(err, &code) && code.SQLState() != "":
		return code.SQLState()
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "canceled"
	}
	return versioning.CauseOf(err).String()
}
