package testenv

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/testcontainers/testcontainers-go"
	tcpostgres "github.com/testcontainers/testcontainers-go/modules/postgres"

	"github.com/pawl-go/pawl/internal/testdb"
)

// PostgresImage is the image of the PostgreSQL container. It must:
//
//   - run PostgreSQL on port 5432 when started with postgresArgs; the port is
//     published on one that Docker chooses;
//   - create the superuser from POSTGRES_USER, POSTGRES_PASSWORD and
//     POSTGRES_DB, which are all "postgres";
//   - keep its data below /var/lib/postgresql/data, which is a tmpfs.
//
// The server is ready when that user can connect; no log line and no command in
// the container matters. The image is pulled only if it is missing.
const PostgresImage = "postgres:17"

const postgresData = "/var/lib/postgresql/data"

// postgresArgs follow "postgres -c fsync=off", which the module passes first.
var postgresArgs = []string{"-c", "full_page_writes=off", "-c", "max_connections=200"}

func containerPostgres(ctx context.Context) (*backend, error) {
	b, err := runPostgres(ctx)
	if err != nil {
		return nil, fmt.Errorf("run a container of %s: %w", PostgresImage, err)
	}
	return b, nil
}

func runPostgres(ctx context.Context) (*backend, error) {
	if err := ensureImages(ctx, PostgresImage); err != nil {
		return nil, err
	}
	c, err := tcpostgres.Run(ctx, PostgresImage,
		testcontainers.WithCmdArgs(postgresArgs...),
		testcontainers.WithTmpfs(map[string]string{postgresData: "rw"}))
	if err != nil {
		return nil, errors.Join(err, testcontainers.TerminateContainer(c))
	}
	b, err := connectPostgres(ctx, c)
	if err != nil {
		return nil, errors.Join(err, terminate(c)())
	}
	return b, nil
}

// connectPostgres waits for the server and returns its address and version.
func connectPostgres(ctx context.Context, c *tcpostgres.PostgresContainer) (*backend, error) {
	var address, version string
	err := awaitReady(ctx, c, func(ctx context.Context) (err error) {
		if address, err = c.ConnectionString(ctx, "sslmode=disable"); err != nil {
			return err
		}
		version, err = serverVersion(ctx, address)
		return err
	})
	if err != nil {
		return nil, err
	}
	detail := fmt.Sprintf("%s (container, %s)", PostgresImage, version)
	return &backend{detail: detail, address: address, close: terminate(c)}, nil
}

// serverVersion connects once and returns the server's version.
func serverVersion(ctx context.Context, address string) (version string, err error) {
	err = testdb.WithConn(ctx, address, func(conn *pgx.Conn) error {
		version, _, _ = strings.Cut(conn.PgConn().ParameterStatus("server_version"), " ")
		return nil
	})
	return version, err
}
