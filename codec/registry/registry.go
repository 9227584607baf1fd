package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/pawl-go/pawl/versioning"
)

// Config configures a registry. Every field may have its zero value.
type Config struct {
	// Client holds options for the client of the registry: its addresses, TLS, authentication
	// and so on. Without sr.URLs, the address is http://localhost:8081. Credentials belong into
	// sr.BasicAuth or sr.BearerToken, not into an address.
	Client []sr.ClientOpt

	// Timeout limits one request, and also how long a schema and all of its references may take.
	// 0 means 5 seconds. Stopping a worker waits for a schema that is being fetched.
	Timeout time.Duration

	// MaxSchemas limits how many schemas each codec keeps. 0 means 1,000. If more are in use,
	// the codec forgets those that it has not used for the longest time.
	MaxSchemas int

	// Subject returns the subject under which the schema of messages to a topic is registered.
	// name is the full name of the record or the message. nil means the topic's name and
	// "-value", like TopicNameStrategy of other clients.
	Subject func(topic, name string) string
}

const (
	defaultTimeout    = 5 * time.Second
	defaultMaxSchemas = 1000
	maxResponse       = 16 << 20 // bytes
	unknownFor        = 30 * time.Second
)

// ErrConfig matches every error about an unusable Config.
var ErrConfig = errors.New("registry configuration")

// ErrUnknownSchema says that the registry answers, but does not know a schema. A record with such
// a schema can't be decoded.
var ErrUnknownSchema = errors.New("the schema registry does not know it")

// A Registry is a schema registry. It is safe for concurrent use.
type Registry struct {
	cfg    Config
	client *sr.Client
}

// New returns a registry. It makes no request, and so does not know whether the registry answers.
// Its errors are [ErrConfig].
func New(cfg Config) (*Registry, error) {
	cfg.Timeout = cmp.Or(cfg.Timeout, defaultTimeout)
	cfg.MaxSchemas = cmp.Or(cfg.MaxSchemas, defaultMaxSchemas)
	if cfg.Subject == nil {
		cfg.Subject = func(topic, _ string) string { return topic + "-value" }
	}
	var problems []error
	if cfg.Timeout < 0 {
		problems = append(problems, fmt.Errorf("%w: Timeout is %v; a decode function must not wait without a limit", ErrConfig, cfg.Timeout))
	}
	if cfg.MaxSchemas < 0 {
		problems = append(problems, fmt.Errorf("%w: MaxSchemas is %d, less than 0", ErrConfig, cfg.MaxSchemas))
	}
	client, err := newClient(cfg.Client)
	if err != nil {
		problems = append(problems, fmt.Errorf("%w: Client: %w", ErrConfig, err))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return &Registry{cfg, client}, nil
}

// newClient returns a client that reads no more than maxResponse of a response.
func newClient(opts []sr.ClientOpt) (*sr.Client, error) {
	client, err := sr.NewClient(opts...)
	if err != nil {
		return nil, err
	}
	plain, ok := client.OptValue(sr.HTTPClient).(*http.Client)
	if !ok {
		return nil, errors.New("the client has no HTTP client")
	}
	limited := *plain // with the TLS configuration of the options
	limited.Transport = limitTransport{cmp.Or(plain.Transport, http.DefaultTransport)}
	return sr.NewClient(append(slices.Clip(opts), sr.DialTLSConfig(nil), sr.HTTPClient(&limited))...)
}

// A limitTransport limits the size of responses.
type limitTransport struct{ http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (t limitTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.RoundTripper.RoundTrip(r)
	if err == nil {
		response.Body = &limitBody{response.Body, maxResponse}
	}
	return response, err
}

type limitBody struct {
	io.ReadCloser

	left int
}

var errTooLarge = fmt.Errorf("the response has more than %d bytes", maxResponse)

// Read implements [io.Reader].
func (b *limitBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

// A Schema is a schema of the registry.
type Schema struct {
	Type sr.SchemaType
	Text string

	// References are the schemas that Text refers to, directly or through others, each after
	// those that it refers to itself.
	References []Reference
}

// A Reference is a schema that another one refers to by name.
type Reference struct {
	Name string
	Text string
}

// maxReferences limits the references of a schema.
const maxReferences = 100

// fetch returns a schema with its references. Its errors are trouble or ErrUnknownSchema.
func (r *Registry) fetch(id schemaID) (Schema, error) {
	ctx, cancel := context.WithTimeout(context.Background(), r.cfg.Timeout) // for all of its references too
	defer cancel()
	var found sr.Schema
	err := r.ask(ctx, func(ctx context.Context) (err error) {
		if id.isGUID {
			var s sr.SubjectSchema
			s, err = r.client.SchemaByGUID(ctx, id.String())
			found = s.Schema
			return err
		}
		found, err = r.client.SchemaByID(ctx, id.number())
		return err
	})
	if err == nil && found.Schema == "" {
		err = versioning.Trouble(errNoSchema)
	}
	if err != nil {
		return Schema{}, fmt.Errorf("schema %s: %w", id, err)
	}
	s := Schema{Type: found.Type, Text: found.Schema}
	if err := r.follow(ctx, &s, found.References, make(map[sr.SchemaReference]bool)); err != nil {
		return Schema{}, fmt.Errorf("schema %s: %w", id, err)
	}
	return s, nil
}

var errNoSchema = errors.New("the response has no schema: is the address that of a schema registry?")

// follow fetches references, those that they need first.
func (r *Registry) follow(ctx context.Context, into *Schema, references []sr.SchemaReference, seen map[sr.SchemaReference]bool) error {
	for _, ref := range references {
		if seen[ref] {
			continue
		}
		if seen[ref] = true; len(seen) > maxReferences {
			return fmt.Errorf("it has more than %d references", maxReferences)
		}
		var found sr.SubjectSchema
		err := r.ask(ctx, func(ctx context.Context) (err error) {
			found, err = r.client.SchemaByVersion(sr.WithParams(ctx, sr.ShowDeleted), ref.Subject, ref.Version)
			return err
		})
		if err != nil {
			return fmt.Errorf("its reference %.200q, version %d of subject %.200q: %w", ref.Name, ref.Version, ref.Subject, err)
		}
		if err := r.follow(ctx, into, found.References, seen); err != nil {
			return err
		}
		into.References = append(into.References, Reference{ref.Name, found.Schema.Schema})
	}
	return nil
}

// ask makes one request.
func (r *Registry) ask(ctx context.Context, request func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	return interpret(request(ctx))
}

// interpret returns the error of a request as ErrUnknownSchema, if the registry says so, or as
// trouble. A 404 of something else, such as a proxy, is trouble.
func interpret(err error) error {
	if err == nil {
		return nil
	}
	answer, ok := errors.AsType[*sr.ResponseError](err)
	if !ok {
		if inner := errors.Unwrap(err); inner != nil {
			err = inner // without the address, which may have a password
		}
		return versioning.Trouble(fmt.Errorf("schema registry: %w", err))
	}
	switch answer.ErrorCode {
	case sr.ErrSubjectNotFound.Code, sr.ErrVersionNotFound.Code, sr.ErrSchemaNotFound.Code:
		return ErrUnknownSchema
	}
	return versioning.Trouble(&responseError{answer})
}

// A responseError is a response that is an error. Its text is short, whatever the response has.
type responseError struct{ answer *sr.ResponseError }

// Error returns the status and the message.
func (e *responseError) Error() string {
	return fmt.Sprintf("schema registry: it answers %d: %.200s", e.answer.StatusCode, e.answer.Error())
}

// Unwrap returns the sr.ResponseError.
func (e *responseError) Unwrap() error { return e.answer }
