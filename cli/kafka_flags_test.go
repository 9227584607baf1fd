package cli_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/pawl-go/pawl/cli"
	"github.com/pawl-go/pawl/internal/testenv"
)

// certificate returns the configuration of a server on a loopback address, and files with its
// certificate, which has signed itself, and its key.
func certificate(t *testing.T) (config *tls.Config, ca, key string) {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	file := func(name, kind string, bytes []byte) string {
		name = filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	private, err := x509.MarshalPKCS8PrivateKey(server.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	config = &tls.Config{Certificates: server.TLS.Certificates, MinVersion: tls.VersionTLS12}
	return config, file("ca.pem", "CERTIFICATE", server.Certificate().Raw), file("key.pem", "PRIVATE KEY", private)
}

// cluster starts a broker with a topic, and returns it with its address.
func cluster(t *testing.T, opts ...kfake.Opt) (*kfake.Cluster, string) {
	t.Helper()
	c, err := kfake.NewCluster(append(opts, kfake.NumBrokers(1), kfake.SeedTopics(1, "bulbs"))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, strings.Join(c.ListenAddrs(), ",")
}

// marked returns the URL of a database with a mark of topic bulbs.
func marked(t *testing.T) string {
	t.Helper()
	url := testenv.Postgres(t, withBulbs)
	count(t, url, `WITH added AS (
	INSERT INTO pawl.marks ("group", topic, topic_id, partition, "offset") VALUES ('g', 'bulbs', '00000000-0000-0000-0000-000000000001', 0, 1) RETURNING 1
) SELECT count(*) FROM added`)
	return url
}

// TestKafkaSecurity connects to brokers with TLS and SASL, and makes the mistakes that everybody
// makes.
func TestKafkaSecurity(t *testing.T) {
	url := marked(t)
	config, ca, key := certificate(t)
	_, open := cluster(t)
	_, encrypted := cluster(t, kfake.TLS(config))
	_, named := cluster(t, kfake.TLS(config), kfake.EnableSASL(), kfake.Superuser("PLAIN", "ann", "secret"),
		kfake.Superuser("SCRAM-SHA-256", "bob", "secret"), kfake.Superuser("SCRAM-SHA-512", "eve", "secret"))
	both := config.Clone()
	both.ClientAuth = tls.RequireAnyClientCert
	_, mutual := cluster(t, kfake.TLS(both))
	failing, failed := cluster(t)
	failing.ControlKey(int16(kmsg.SASLHandshake), func(request kmsg.Request) (kmsg.Response, error, bool) { // as real brokers do
		failing.KeepControl()
		response := request.ResponseKind().(*kmsg.SASLHandshakeResponse) //nolint:forcetypeassert // it is that key
		response.ErrorCode = kerr.UnsupportedSaslMechanism.Code
		return response, nil, true
	})
	withTLS := "--kafka-tls-ca " + ca + " "
	const (
		refuses      = "the broker refuses the name or the password; check KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD"
		noHandshake  = "there was no TLS handshake; check --brokers, and leave out --kafka-tls"
		needsMore    = "it may need --kafka-tls or --kafka-sasl-mechanism"
		cantVerify   = "the certificate of the broker can't be verified; check --kafka-tls-ca"
		needsPair    = "needs the environment variables KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
		needsBrokers = "the flags for Kafka need --brokers"
	)
	for _, c := range []struct {
		user, password, args, want string // want is of the error; empty means none
	}{
		{"", "", "--brokers " + open, ""},
		{"", "", withTLS + "--brokers " + encrypted, ""},
		{"", "", withTLS + "--kafka-tls --brokers " + encrypted, ""},
		{"", "", withTLS + "--kafka-tls-cert " + ca + " --kafka-tls-key " + key + " --brokers " + mutual, ""},
		{"ann", "secret", withTLS + "--kafka-sasl-mechanism plain --brokers " + named, ""},
		{"bob", "secret", withTLS + "--kafka-sasl-mechanism scram-sha-256 --brokers " + named, ""},
		{"eve", "secret", withTLS + "--kafka-sasl-mechanism scram-sha-512 --brokers " + named, ""},

		{"ann", "wrong", withTLS + "--kafka-sasl-mechanism plain --brokers " + named, refuses},
		{"bob", "wrong", withTLS + "--kafka-sasl-mechanism scram-sha-256 --brokers " + named, refuses},
		{"ann", "secret", "--kafka-sasl-mechanism scram-sha-512 --brokers " + failed, "and that it takes --kafka-sasl-mechanism scram-sha-512"},
		{"", "", withTLS + "--brokers " + named, "the broker closes the connection; it may need --kafka-sasl-mechanism"},
		{"", "", withTLS + "--brokers " + mutual, "certificate required"},
		{"", "", "--brokers " + encrypted, needsMore},
		{"", "", "--kafka-tls --brokers " + encrypted, cantVerify},
		{"", "", "--kafka-tls --brokers " + open, noHandshake},
		{"", "", "--kafka-tls --brokers " + hangsUp(t), noHandshake},
		{"", "", "--kafka-tls --brokers " + testenv.FreeAddress(t), "no broker answers; check --brokers"},
		{"", "", "--brokers " + testenv.FreeAddress(t), "no broker answers; check --brokers"},

		{"", "secret", "--kafka-sasl-mechanism plain --brokers " + open, needsPair},
		{"ann", "", "--kafka-sasl-mechanism plain --brokers " + open, needsPair},
		{"ann", "secret", "--kafka-sasl-mechanism gssapi --brokers " + open, `unknown --kafka-sasl-mechanism "gssapi"; use plain, scram-sha-256 or scram-sha-512`},
		{"", "", "--kafka-tls", needsBrokers},
		{"ann", "secret", "--kafka-sasl-mechanism plain", needsBrokers},
		{"", "", "--kafka-tls-ca nosuch.pem --brokers " + open, "--kafka-tls-ca: open nosuch.pem"},
		{"", "", "--kafka-tls-ca kafka_flags_test.go --brokers " + open, "has no certificate in PEM"},
		{"", "", "--kafka-tls-cert " + ca + " --brokers " + open, "belong together"},
		{"", "", "--kafka-tls-cert " + ca + " --kafka-tls-key " + ca + " --brokers " + open, "--kafka-tls-cert and --kafka-tls-key: "},
	} {
		t.Setenv("KAFKA_SASL_USERNAME", c.user)
		t.Setenv("KAFKA_SASL_PASSWORD", c.password)
		stdout, stderr, status := (&console{url: url}).run(t, append([]string{"status"}, strings.Fields(c.args)...)...)
		switch {
		case c.want == "" && (status != 0 || !strings.Contains(stdout, "LAG")), c.want != "" && (status != 2 || !strings.Contains(stderr, c.want)):
			t.Errorf("%s: status %d, want %q\n%s%s", c.args, status, c.want, stdout, stderr)
		case c.password != "" && strings.Contains(stdout+stderr, c.password):
			t.Errorf("%s: the password is printed\n%s%s", c.args, stdout, stderr)
		}
	}
}

// TestKafkaFlagsOfAProgram uses the flags in a program that says by itself how to connect.
func TestKafkaFlagsOfAProgram(t *testing.T) {
	url := marked(t)
	config, ca, _ := certificate(t)
	_, brokers := cluster(t, kfake.TLS(config), kfake.EnableSASL(), kfake.Superuser("PLAIN", "ann", "secret"))
	t.Setenv("KAFKA_SASL_USERNAME", "ann")
	t.Setenv("KAFKA_SASL_PASSWORD", "secret")
	text, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	tlsOption := kgo.DialTLSConfig(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})
	saslOption := kgo.SASL(plain.Auth{User: "ann", Pass: "secret"}.AsMechanism())
	const (
		noTLS  = "the program sets kgo.DialTLSConfig in cli.Config.Client already, and the two exclude each other; leave out "
		noSASL = "--kafka-sasl-mechanism: the program sets kgo.SASL in cli.Config.Client already, and the two exclude each other; leave out --kafka-sasl-mechanism"
	)
	for _, c := range []struct {
		client     []kgo.Opt
		args, want string // want is of the error; empty means none
	}{
		{[]kgo.Opt{tlsOption, saslOption}, "", ""},
		{[]kgo.Opt{tlsOption}, "--kafka-sasl-mechanism plain", ""},
		{[]kgo.Opt{saslOption}, "--kafka-tls-ca " + ca, ""},
		{[]kgo.Opt{tlsOption, saslOption}, "--kafka-tls", "--kafka-tls: " + noTLS + "--kafka-tls"},
		{[]kgo.Opt{tlsOption, saslOption}, "--kafka-tls-ca " + ca, "--kafka-tls-ca: " + noTLS + "--kafka-tls-ca"},
		{[]kgo.Opt{tlsOption, saslOption}, "--kafka-sasl-mechanism plain", noSASL},
		{[]kgo.Opt{kgo.Dialer(new(net.Dialer).DialContext)}, "--kafka-tls", "--kafka-tls: " + strings.Replace(noTLS, "DialTLSConfig", "Dialer", 1) + "--kafka-tls"},
	} {
		root := &cobra.Command{Use: "lampd", SilenceErrors: true, SilenceUsage: true}
		root.AddCommand(cli.Commands(cli.Config{Client: c.client})...)
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetErr(&out)
		root.SetArgs(append([]string{"status", "--database-url", url, "--brokers", brokers}, strings.Fields(c.args)...))
		err := root.ExecuteContext(t.Context())
		switch {
		case c.want == "" && (err != nil || !strings.Contains(out.String(), "LAG")), c.want != "" && (err == nil || err.Error() != c.want):
			t.Errorf("%q: %v, want %q\n%s", c.args, err, c.want, out.String())
		}
	}
}

// hangsUp returns the address of a listener that hangs up once it is sent something that it
// doesn't understand, as a broker without TLS does.
func hangsUp(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 5))
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}
