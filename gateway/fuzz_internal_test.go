package gateway

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// FuzzKey parses keys as clients send them. Each key that is accepted has a quoted form that
// is the same key.
func FuzzKey(f *testing.F) {
	for _, line := range []string{"", "a", `"a"`, `"a\"b\\"`, `"`, `""`, `"\"`, "a,b", "a b", `"a";b`, "é", "\x00", `"\x7f"`} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		key, err := parseKey([]string{line})
		if _, several := parseKey([]string{line, line}); several == nil {
			t.Error("two lines are accepted")
		}
		if err != nil {
			if key != "" {
				t.Errorf("%q: key %q and error %v", line, key, err)
			}
			return
		}
		if key == "" || len(key) > maxKey {
			t.Errorf("%q is key %q", line, key)
		}
		quoted := []byte{'"'}
		for _, c := range []byte(key) {
			if c < ' ' || c > '~' {
				t.Errorf("%q has byte %d", line, c)
			}
			if c == '"' || c == '\\' {
				quoted = append(quoted, '\\')
			}
			quoted = append(quoted, c)
		}
		if again, err := parseKey([]string{string(append(quoted, '"'))}); again != key || err != nil {
			t.Errorf("%q is key %q, but its quoted form is %q, %v", line, key, again, err)
		}
	})
}

// FuzzStored decodes what may be in a database. It must not panic or use much memory, and
// what it accepts must be encoded to the same bytes.
func FuzzStored(f *testing.F) {
	plain, err := newCodec(nil)
	if err != nil {
		f.Fatal(err)
	}
	sealing, err := newCodec([]EncryptionKey{{ID: "a", Secret: make([]byte, 16)}})
	if err != nil {
		f.Fatal(err)
	}
	key := Key{Tenant: "t", Route: "r", Value: "v"}
	seed := &response{
		fingerprint: fingerprint{1, 2}, status: 201, body: []byte("body\x00"),
		header: http.Header{"Location": {"/a"}, "Link": {"", "b"}, "Content-Type": nil},
	}
	f.Add(plain.encode(key, seed))
	f.Add(plain.encode(key, &response{status: 204, omitted: true}))
	f.Add(sealing.encode(key, seed))
	f.Add([]byte{formatSealed})
	f.Fuzz(func(t *testing.T, stored []byte) {
		first, err := sealing.decode(key, stored)
		if err != nil || stored[0] != formatPlain {
			return
		}
		again, err := plain.decode(key, plain.encode(key, first))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, again, cmp.AllowUnexported(response{}), cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	})
}

// FuzzResponse encodes and decodes responses, encrypted or not.
func FuzzResponse(f *testing.F) {
	f.Add(200, "Content-Type", "text/plain", []byte("body"), false, "k")
	f.Add(999, "", "\x00", []byte(nil), true, "")
	f.Fuzz(func(t *testing.T, status int, name, value string, body []byte, omitted bool, k string) {
		if status < 200 || status > 999 {
			return
		}
		want := &response{
			fingerprint: fingerprint{byte(status)}, status: status, body: body, omitted: omitted,
			header: http.Header{name: {value, name}, name + "2": nil},
		}
		for _, keys := range [][]EncryptionKey{nil, {{ID: "new", Secret: make([]byte, 32)}, {ID: "old", Secret: bytes.Repeat([]byte{1}, 24)}}} {
			c, err := newCodec(keys)
			if err != nil {
				t.Fatal(err)
			}
			key := Key{Tenant: "t", Route: k, Value: k}
			stored := c.encode(key, want)
			got, err := c.decode(key, stored)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(response{}), cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
			if len(keys) == 0 {
				continue
			}
			for i := range stored {
				stored[i] ^= 1
				if got, err := c.decode(key, stored); err == nil && stored[0] == formatSealed {
					t.Fatalf("byte %d was altered, and it is still read: %+v", i, got)
				}
				stored[i] ^= 1
			}
		}
	})
}

// FuzzRequests sends a request twice, and then another one with its key.
func FuzzRequests(f *testing.F) {
	f.Add("a=1", []byte("body"), "a=1", []byte("other"))
	f.Add("", []byte{0}, "", []byte{0, 0})
	f.Add("a\x00", []byte("b"), "a", []byte("\x00b")) // the same bytes, if they are only separated
	f.Fuzz(func(t *testing.T, query string, body []byte, otherQuery string, otherBody []byte) {
		fingerprintOf := func(query string, body []byte) fingerprint {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/a", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.URL.RawQuery = query
			return fingerprintOf(r, "route", body)
		}
		first := fingerprintOf(query, body)
		if first != fingerprintOf(query, bytes.Clone(body)) {
			t.Error("the same request has another fingerprint")
		}
		same := query == otherQuery && bytes.Equal(body, otherBody)
		if (first == fingerprintOf(otherQuery, otherBody)) != same {
			t.Errorf("%q %q and %q %q: same fingerprint: %t", query, body, otherQuery, otherBody, !same)
		}
	})
}
