package testenv

import (
	"context"
	"fmt"

	"github.com/pawl-go/pawl/internal/embedded"
)

func (e *environment) postgresResource() resource {
	return resource{
		variable: DatabaseVariable,
		starters: map[kind]starter{
			kindServer:    e.namedPostgres,
			kindContainer: containerPostgres,
			kindEmbedded:  embeddedPostgres,
		},
	}
}

// namedPostgres uses the server of DATABASE_URL. Closing it does not stop it.
func (e *environment) namedPostgres(ctx context.Context) (*backend, error) {
	ctx, cancel := context.WithTimeout(ctx, e.patience)
	defer cancel()
	address := e.getenv(DatabaseVariable)
	version, err := serverVersion(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("connect to the server of %s; start it or unset the variable: %w", DatabaseVariable, err)
	}
	detail := fmt.Sprintf("%s (server, %s)", DatabaseVariable, version)
	return &backend{detail: detail, address: address, close: func() error { return nil }}, nil
}

func embeddedPostgres(ctx context.Context) (*backend, error) {
	server, err := embedded.StartPostgres(ctx, embedded.PostgresConfig{})
	if err != nil {
		return nil, err
	}
	detail := fmt.Sprintf("%s (embedded, %s)", server.BinDir(), server.Version())
	return &backend{detail: detail, address: server.URL(), close: server.Close}, nil
}
