package registry_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/pawl-go/pawl/codec/registry"
	"github.com/pawl-go/pawl/codec/registry/registrytest"
	"github.com/pawl-go/pawl/versioning"
)

const schemaA = `{"type":"record","name":"A","fields":[{"name":"id","type":"string"}]}`

func open(t *testing.T, server *registrytest.Registry, cfg registry.Config) *registry.Registry {
	t.Helper()
	cfg.Client = server.Client()
	reg, err := registry.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return reg
}

// texts returns a cache that has the texts of schemas.
func texts(reg *registry.Registry) *registry.Cache[string] {
	return registry.NewCache(reg, sr.TypeAvro, func(s registry.Schema) (string, error) {
		if strings.Contains(s.Text, "Bad") {
			return "", errors.New("a bad schema")
		}
		text := s.Text
		for _, ref := range s.References {
			text += " " + ref.Name
		}
		return text, nil
	})
}

func withID(id int, data string) *versioning.Record {
	return &versioning.Record{Value: append([]byte{0, byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)}, data...)}
}

func withGUID(t *testing.T, guid, data string) *versioning.Record {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(guid, "-", ""))
	if err != nil || len(b) != 16 {
		t.Fatalf("GUID %q: %v", guid, err)
	}
	name := append([]byte{1}, b...)
	return &versioning.Record{Value: []byte(data), Headers: []versioning.Header{{Key: registry.SchemaHeader, Value: name}}}
}

func isTrouble(err error) bool { return errors.Is(err, versioning.ErrInfrastructure) }

func TestRead(t *testing.T) {
	t.Parallel()
	server := registrytest.New()
	id := server.Add("a-value", sr.Schema{Schema: schemaA})
	cache := texts(open(t, server, registry.Config{}))
	for range 3 {
		for _, r := range []*versioning.Record{withID(id, "abc"), withGUID(t, server.GUID("a-value"), "abc")} {
			v, err := cache.Read(r)
			if err != nil || v.Schema != schemaA || string(v.Data) != "abc" || v.Index != nil {
				t.Errorf("%+v, %v", v, err)
			}
		}
	}
	if n := server.Requests(); n != 2 {
		t.Errorf("%d requests for an ID and a GUID", n)
	}
}

// While the registry fails, reading is in trouble. Then it works.
func TestFaults(t *testing.T) {
	t.Parallel()
	faults := map[registrytest.Fault]string{
		registrytest.Down: "connection refused", registrytest.Slow: "deadline exceeded", registrytest.NotFound: "404",
		registrytest.Unavailable: "503: Unknown leader", registrytest.Unauthorized: "401: Unauthorized",
		registrytest.Garbage: "invalid character", registrytest.Empty: "no schema", registrytest.Huge: "more than 16777216 bytes",
	}
	for fault, text := range faults {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := registrytest.New()
				id := server.Add("a-value", sr.Schema{Schema: schemaA})
				cache := texts(open(t, server, registry.Config{Timeout: 3 * time.Second}))
				server.Fail(fault)
				for _, r := range []*versioning.Record{withID(id, ""), withGUID(t, server.GUID("a-value"), ""), withID(99, "")} {
					began := time.Now()
					_, err := cache.Read(r)
					if !isTrouble(err) || errors.Is(err, registry.ErrUnknownSchema) || !strings.Contains(err.Error(), text) {
						t.Errorf("%v", err)
					}
					if took := time.Since(began); took > 3*time.Second {
						t.Errorf("it took %v", took)
					}
					if len(err.Error()) > 400 {
						t.Errorf("an error of %d bytes", len(err.Error()))
					}
				}
				server.Fail(registrytest.None)
				if v, err := cache.Read(withID(id, "")); err != nil || v.Schema != schemaA {
					t.Errorf("afterwards: %+v, %v", v, err)
				}
				if _, err := cache.Read(withID(99, "")); isTrouble(err) || !errors.Is(err, registry.ErrUnknownSchema) {
					t.Errorf("afterwards: %v", err)
				}
			})
		})
	}
}

// A schema that is in use does not need the registry.
func TestCachedSchemaNeedsNoRegistry(t *testing.T) {
	t.Parallel()
	server := registrytest.New()
	id := server.Add("a-value", sr.Schema{Schema: schemaA})
	cache := texts(open(t, server, registry.Config{}))
	if _, err := cache.Read(withID(id, "")); err != nil {
		t.Fatal(err)
	}
	server.Fail(registrytest.Down)
	if _, err := cache.Read(withID(id, "")); err != nil {
		t.Error(err)
	}
}

// What the registry does not know is a verdict. It is asked for again later.
func TestUnknownSchema(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := registrytest.New()
		cache := texts(open(t, server, registry.Config{}))
		unknown := []*versioning.Record{withID(1, ""), withGUID(t, "00112233-4455-6677-8899-aabbccddeeff", "")}
		for range 5 {
			for _, r := range unknown {
				if _, err := cache.Read(r); !errors.Is(err, registry.ErrUnknownSchema) || isTrouble(err) {
					t.Fatal(err)
				}
			}
		}
		if n := server.Requests(); n != 2 {
			t.Errorf("%d requests for two unknown schemas", n)
		}
		server.Add("a-value", sr.Schema{Schema: schemaA})
		<-time.After(time.Minute)
		if _, err := cache.Read(unknown[0]); err != nil {
			t.Errorf("after it was registered: %v", err)
		}
	})
}

func TestSchemasThatCantBeUsed(t *testing.T) {
	t.Parallel()
	server := registrytest.New()
	bad := server.Add("bad-value", sr.Schema{Schema: strings.Replace(schemaA, `"A"`, `"Bad"`, 1)})
	proto := server.Add("proto-value", sr.Schema{Schema: `syntax = "proto3"; message A {}`, Type: sr.TypeProtobuf})
	cache := texts(open(t, server, registry.Config{}))
	for id, want := range map[int]string{bad: "a bad schema", proto: "of type PROTOBUF, not AVRO"} {
		for range 3 {
			if _, err := cache.Read(withID(id, "")); isTrouble(err) || err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v", err)
			}
		}
	}
	if n := server.Requests(); n != 2 {
		t.Errorf("%d requests", n)
	}
}

func TestReferences(t *testing.T) {
	t.Parallel()
	server := registrytest.New()
	record := func(name string) string { return strings.Replace(schemaA, `"A"`, `"`+name+`"`, 1) }
	ref := func(names ...string) (all []sr.SchemaReference) {
		for _, name := range names {
			all = append(all, sr.SchemaReference{Name: name, Subject: name, Version: 1})
		}
		return all
	}
	server.Add("C", sr.Schema{Schema: record("C")})
	server.Add("B", sr.Schema{Schema: record("B"), References: ref("C")})
	id := server.Add("a-value", sr.Schema{Schema: schemaA, References: ref("B", "C")})
	cache := texts(open(t, server, registry.Config{}))
	if v, err := cache.Read(withID(id, "")); err != nil || v.Schema != schemaA+" C B" {
		t.Errorf("%+v, %v", v, err)
	}
}

// The cache keeps those schemas that were used last.
func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	server := registrytest.New()
	ids := make([]int, 3)
	for i := range ids {
		ids[i] = server.Add("a-value", sr.Schema{Schema: strings.Replace(schemaA, `"A"`, fmt.Sprintf(`"A%d"`, i), 1)})
	}
	cache := texts(open(t, server, registry.Config{MaxSchemas: 2}))
	requests := func(ids ...int) int {
		before := server.Requests()
		for _, id := range ids {
			if _, err := cache.Read(withID(id, "")); err != nil {
				t.Fatal(err)
			}
		}
		return server.Requests() - before
	}
	if n := requests(ids[0], ids[1], ids[0], ids[1], ids[0]); n != 2 {
		t.Errorf("%d requests for two schemas", n)
	}
	if n := requests(ids[2], ids[0]); n != 1 {
		t.Errorf("%d requests for a third one and the one used last", n)
	}
	if n := requests(ids[1]); n != 1 {
		t.Errorf("%d requests for the one that was dropped", n)
	}
}

// Goroutines that need one schema at the same time share a request.
func TestConcurrentReads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := registrytest.New()
		id := server.Add("a-value", sr.Schema{Schema: schemaA})
		server.Fail(registrytest.Slow)
		cache := texts(open(t, server, registry.Config{}))
		read := func(want func(error) bool) {
			var group sync.WaitGroup
			for range 10 {
				group.Go(func() {
					if _, err := cache.Read(withID(id, "")); !want(err) {
						t.Errorf("%v", err)
					}
				})
			}
			group.Wait()
		}
		read(isTrouble)
		server.Fail(registrytest.None)
		read(func(err error) bool { return err == nil })
		if n := server.Requests(); n != 2 {
			t.Errorf("%d requests", n)
		}
	})
}

// A panic while a schema is compiled does not block those who need it later.
func TestCompilePanics(t *testing.T) {
	t.Parallel()
	server := registrytest.New()
	id := server.Add("a-value", sr.Schema{Schema: schemaA})
	calls := 0
	cache := registry.NewCache(open(t, server, registry.Config{}), sr.TypeAvro, func(registry.Schema) (int, error) {
		if calls++; calls == 1 {
			panic("first")
		}
		return calls, nil
	})
	r := withID(id, "")
	decode := func(r *versioning.Record) ([]versioning.Change, error) {
		_, err := cache.Read(r)
		return nil, err
	}
	if r.Decode(decode); r.Err == nil || r.Trouble() != nil {
		t.Errorf("%v", r.Err)
	}
	if r.Decode(decode); r.Err != nil {
		t.Errorf("%v", r.Err)
	}
}

// A server with TLS and authentication, over a network.
func TestTLS(t *testing.T) {
	t.Parallel()
	fake := registrytest.New()
	id := fake.Add("a-value", sr.Schema{Schema: schemaA})
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "ada" || password != "secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fake.ServeHTTP(w, r)
	}))
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	secure := sr.DialTLSConfig(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13})
	read := func(opts ...sr.ClientOpt) error {
		reg, err := registry.New(registry.Config{Client: append(opts, sr.URLs(server.URL))})
		if err != nil {
			t.Fatal(err)
		}
		_, err = texts(reg).Read(withID(id, ""))
		return err
	}
	if err := read(secure, sr.BasicAuth("ada", "secret")); err != nil {
		t.Error(err)
	}
	if err := read(secure); !isTrouble(err) || !strings.Contains(err.Error(), "401") {
		t.Errorf("without a password: %v", err)
	}
	if err := read(sr.BasicAuth("ada", "secret")); !isTrouble(err) {
		t.Errorf("without the certificate: %v", err)
	}
	fake.Fail(registrytest.Huge)
	if err := read(secure, sr.BasicAuth("ada", "secret")); !isTrouble(err) || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("a huge response: %v", err)
	}
	fake.Fail(registrytest.Down)
	if err := read(secure, sr.BasicAuth("ada", "secret")); !isTrouble(err) {
		t.Errorf("a server that hangs up: %v", err)
	}
}

// A password in an address does not get into errors.
func TestErrorsHaveNoPassword(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close() // nothing listens there any more
	reg, err := registry.New(registry.Config{Client: []sr.ClientOpt{sr.URLs(strings.Replace(server.URL, "://", "://ada:secret@", 1))}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := texts(reg).Read(withID(1, "")); !isTrouble(err) || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	_, err := registry.New(registry.Config{Timeout: -1, MaxSchemas: -1, Client: []sr.ClientOpt{sr.URLs()}})
	if !errors.Is(err, registry.ErrConfig) || strings.Count(err.Error(), "registry configuration") != 3 {
		t.Errorf("%v", err)
	}
	if _, err := registry.New(registry.Config{}); err != nil {
		t.Errorf("the zero value: %v", err)
	}
}

func TestWriter(t *testing.T) {
	t.Parallel()
	server := registrytest.New()
	byRecord := func(topic, name string) string { return topic + "-" + name }
	for subject, cfg := range map[string]registry.Config{"a-value": {}, "a-shop.A": {Subject: byRecord}} {
		reg := open(t, server, cfg)
		w := registry.NewWriter(reg, sr.Schema{Schema: schemaA}, "shop.A")
		if _, err := w.Prefix("a"); !errors.Is(err, registry.ErrNotRegistered) {
			t.Errorf("before: %v", err)
		}
		if err := w.Lookup(t.Context(), "a"); !errors.Is(err, registry.ErrUnknownSchema) {
			t.Errorf("Lookup before: %v", err)
		}
		server.Fail(registrytest.Down)
		if err := w.Register(t.Context(), "a"); !isTrouble(err) {
			t.Errorf("Register while it is down: %v", err)
		}
		server.Fail(registrytest.None)
		if err := w.Register(t.Context(), "a", "b"); err != nil {
			t.Fatal(err)
		}
		other := registry.NewWriter(reg, sr.Schema{Schema: schemaA}, "shop.A")
		if err := other.Lookup(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		id := server.Add(subject, sr.Schema{Schema: schemaA}) // it is there already
		for _, w := range []*registry.Writer{w, other} {
			if prefix, err := w.Prefix("a"); err != nil || string(prefix) != string(withID(id, "").Value) {
				t.Errorf("prefix %x, %v", prefix, err)
			}
		}
		if _, err := other.Prefix("b"); !errors.Is(err, registry.ErrNotRegistered) {
			t.Errorf("another topic: %v", err)
		}
	}
}
