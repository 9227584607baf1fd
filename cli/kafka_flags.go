package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// The variables with the name and the password for Kafka. They are not flags, because others can
// read the command lines of processes.
const (
	kafkaUser     = "KAFKA_SASL_USERNAME"
	kafkaPassword = "KAFKA_SASL_PASSWORD" //nolint:gosec // the name of a variable
)

const (
	saslPlain  = "plain"
	saslSHA256 = "scram-sha-256"
	saslSHA512 = "scram-sha-512"
)

// handshakeTimeout limits connecting with TLS. A listener without TLS may wait for more of a handshake.
const handshakeTimeout = 4 * time.Second

// kafkaFlags are the flags that say where Kafka is, and how to connect.
type kafkaFlags struct {
	brokers       []string
	tls           bool
	ca, cert, key string
	mechanism     string

	connected atomic.Bool // whether a broker has answered a TLS handshake
}

func (k *kafkaFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringSliceVar(&k.brokers, "brokers", nil, "Kafka brokers, host:port: also show the lag of each group")
	flags.BoolVar(&k.tls, "kafka-tls", false, "connect to the brokers with TLS")
	flags.StringVar(&k.ca, "kafka-tls-ca", "", "`file` with the certificates, in PEM, that sign those of the brokers\n(default those of the system); implies --kafka-tls")
	flags.StringVar(&k.cert, "kafka-tls-cert", "", "`file` with the client's certificate, in PEM; implies --kafka-tls")
	flags.StringVar(&k.key, "kafka-tls-key", "", "`file` with the key of the client's certificate, in PEM")
	flags.StringVar(&k.mechanism, "kafka-sasl-mechanism", "", "plain, scram-sha-256 or scram-sha-512, with the name and the password\nof $"+kafkaUser+" and $"+kafkaPassword)
	complete(cmd, "kafka-sasl-mechanism", saslPlain, saslSHA256, saslSHA512)
}

// isTLS reports whether the flags ask for TLS.
func (k *kafkaFlags) isTLS() bool { return k.tls || k.ca != "" || k.cert != "" || k.key != "" }

// options returns what the flags add to the program's options of a Kafka client.
func (k *kafkaFlags) options(program []kgo.Opt) (opts []kgo.Opt, err error) {
	if len(k.brokers) == 0 {
		if k.isTLS() || k.mechanism != "" {
			return nil, errors.New("the flags for Kafka need --brokers")
		}
		return nil, nil
	}
	if err := k.excludes(program); err != nil {
		return nil, err
	}
	opts = append(opts, kgo.SeedBrokers(k.brokers...))
	if k.isTLS() {
		config, err := k.tlsConfig()
		if err != nil {
			return nil, err
		}
		dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: handshakeTimeout}, Config: config}
		opts = append(opts, kgo.Dialer(func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err == nil {
				k.connected.Store(true)
			}
			return conn, err //nolint:wrapcheck // the client says what it is about
		}))
	}
	if k.mechanism != "" {
		mechanism, err := saslMechanism(k.mechanism, os.Getenv(kafkaUser), os.Getenv(kafkaPassword))
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.SASL(mechanism))
	}
	return opts, nil
}

// excludes returns an error if the program says by itself how to connect, and the flags say it too.
func (k *kafkaFlags) excludes(program []kgo.Opt) error {
	if !k.isTLS() && k.mechanism == "" {
		return nil
	}
	client, err := kgo.NewClient(program...) // connects to nothing
	if err != nil {
		return fmt.Errorf("cli.Config.Client: %w", err)
	}
	defer client.Close()
	const advice = "%s: the program sets %s in cli.Config.Client already, and the two exclude each other; leave out %s"
	if k.isTLS() {
		if config, _ := client.OptValue(kgo.DialTLSConfig).(*tls.Config); config != nil {
			return fmt.Errorf(advice, k.tlsFlags(), "kgo.DialTLSConfig", k.tlsFlags())
		}
		if kgo.ValidateOpts(append(slices.Clone(program), kgo.DialTLS())...) != nil { // kgo refuses it next to a dialer
			return fmt.Errorf(advice, k.tlsFlags(), "kgo.Dialer", k.tlsFlags())
		}
	}
	if mechanisms, _ := client.OptValue(kgo.SASL).([]sasl.Mechanism); len(mechanisms) > 0 && k.mechanism != "" {
		return fmt.Errorf(advice, "--kafka-sasl-mechanism", "kgo.SASL", "--kafka-sasl-mechanism")
	}
	return nil
}

// tlsFlags returns the flags that ask for TLS.
func (k *kafkaFlags) tlsFlags() string {
	var names []string
	for _, f := range []struct {
		is   bool
		name string
	}{
		{k.tls, "--kafka-tls"}, {k.ca != "", "--kafka-tls-ca"}, {k.cert != "", "--kafka-tls-cert"}, {k.key != "", "--kafka-tls-key"},
	} {
		if f.is {
			names = append(names, f.name)
		}
	}
	return strings.Join(names, ", ")
}

func (k *kafkaFlags) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if k.ca != "" {
		pem, err := os.ReadFile(k.ca)
		if err != nil {
			return nil, fmt.Errorf("--kafka-tls-ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--kafka-tls-ca: file %s has no certificate in PEM, which begins with -----BEGIN CERTIFICATE-----", k.ca)
		}
	}
	switch {
	case k.cert != "" && k.key != "":
		pair, err := tls.LoadX509KeyPair(k.cert, k.key)
		if err != nil {
			return nil, fmt.Errorf("--kafka-tls-cert and --kafka-tls-key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	case k.cert != "" || k.key != "":
		return nil, errors.New("--kafka-tls-cert and --kafka-tls-key belong together; set both")
	}
	return config, nil
}

func saslMechanism(name, user, password string) (sasl.Mechanism, error) {
	if name != saslPlain && name != saslSHA256 && name != saslSHA512 {
		return nil, fmt.Errorf("unknown --kafka-sasl-mechanism %q; use %s, %s or %s", name, saslPlain, saslSHA256, saslSHA512)
	}
	if user == "" || password == "" {
		return nil, fmt.Errorf("--kafka-sasl-mechanism needs the environment variables %s and %s", kafkaUser, kafkaPassword)
	}
	switch name {
	case saslSHA256:
		return scram.Auth{User: user, Pass: password}.AsSha256Mechanism(), nil
	case saslSHA512:
		return scram.Auth{User: user, Pass: password}.AsSha512Mechanism(), nil
	}
	return plain.Auth{User: user, Pass: password}.AsMechanism(), nil
}

// advice says what to check after an error of a Kafka client.
func (k *kafkaFlags) advice(err error) string {
	_, closedAtOnce := errors.AsType[*kgo.ErrFirstReadEOF](err)
	_, badCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	closed := closedAtOnce || errors.Is(err, io.EOF)
	refused := errors.Is(err, syscall.ECONNREFUSED)
	switch {
	case badCertificate:
		return "the certificate of the broker can't be verified; check --kafka-tls-ca, and that the certificate is for the host of --brokers"
	case k.isTLS() && !k.connected.Load() && !refused:
		return "there was no TLS handshake; check --brokers, and leave out --kafka-tls if the listener has no TLS"
	case isSASL(err), closed && k.mechanism != "":
		return fmt.Sprintf("the broker refuses the name or the password; check %s, %s, and that it takes --kafka-sasl-mechanism %s", kafkaUser, kafkaPassword, k.mechanism)
	case closed && k.isTLS():
		return "the broker closes the connection; it may need --kafka-sasl-mechanism"
	case closed:
		return "the broker closes the connection; it may need --kafka-tls or --kafka-sasl-mechanism"
	case refused:
		return "no broker answers; check --brokers"
	}
	return "check --brokers"
}

func isSASL(err error) bool {
	return errors.Is(err, kerr.SaslAuthenticationFailed) || errors.Is(err, kerr.UnsupportedSaslMechanism) || errors.Is(err, kerr.IllegalSaslState)
}
