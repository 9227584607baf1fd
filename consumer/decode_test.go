package consumer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/versioning"
)

var compareExpected = cmp.Comparer(func(a, b versioning.Expected) bool { return a == b })

func TestDecodeMessage(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		value string
		want  versioning.Change
		err   string // part of it
	}{
		"least": {`{"key":"k","event":"e"}`, versioning.Change{Key: "k", Event: "e"}, ""},
		"all": {
			`{"machine":"m","key":"k","event":"e","id":"i","expected_version":7,"set":{"a":"x"}}`,
			versioning.Change{
				Machine: "m", Key: "k", Event: "e", MessageID: "i", Expected: versioning.At(7),
				Set: versioning.Columns{"a": "x"},
			},
			"",
		},
		"version 0":     {`{"key":"k","event":"e","expected_version":0}`, versioning.Change{Key: "k", Event: "e", Expected: versioning.At(0)}, ""},
		"null version":  {`{"key":"k","event":"e","expected_version":null}`, versioning.Change{Key: "k", Event: "e"}, ""},
		"unknown field": {`{"key":"k","event":"e","more":[1]}`, versioning.Change{Key: "k", Event: "e"}, ""},
		"columns": {
			`{"key":"k","event":"e","set":{"text":"a\"b","null":null,"int":12345678901234567890123,"float":0.1000000000000000055511151231257827,"exp":1e400,"bool":true,"object":{"a": 1},"array":[1,"2"],"empty":""}}`,
			versioning.Change{Key: "k", Event: "e", Set: versioning.Columns{
				"text": `a"b`, "null": nil, "int": "12345678901234567890123", "float": "0.1000000000000000055511151231257827",
				"exp": "1e400", "bool": "true", "object": `{"a": 1}`, "array": `[1,"2"]`, "empty": "",
			}},
			"",
		},
		"empty set":        {`{"key":"k","event":"e","set":{}}`, versioning.Change{Key: "k", Event: "e"}, ""},
		"no key":           {`{"event":"e"}`, versioning.Change{}, `no "key"`},
		"no event":         {`{"key":"k"}`, versioning.Change{}, `no "event"`},
		"null":             {`null`, versioning.Change{}, `no "key"`},
		"negative version": {`{"key":"k","event":"e","expected_version":-1}`, versioning.Change{}, "less than 0"},
		"huge version":     {`{"key":"k","event":"e","expected_version":9223372036854775808}`, versioning.Change{}, "decode JSON"},
		"broken version":   {`{"key":"k","event":"e","expected_version":1.5}`, versioning.Change{}, "decode JSON"},
		"number for key":   {`{"key":5,"event":"e"}`, versioning.Change{}, "decode JSON"},
		"trailing data":    {`{"key":"k","event":"e"} {}`, versioning.Change{}, "decode JSON"},
		"trailing garbage": {`{"key":"k","event":"e"}x`, versioning.Change{}, "decode JSON"},
		"not JSON":         {`key`, versioning.Change{}, "decode JSON"},
		"empty":            {``, versioning.Change{}, "decode JSON"},
		"array":            {`[]`, versioning.Change{}, "decode JSON"},
		"Latin-1":          {"{\"key\":\"m\xfcller\",\"event\":\"e\"}", versioning.Change{}, "decode JSON"},
		"lone surrogate":   {`{"key":"\ud800","event":"e"}`, versioning.Change{}, "decode JSON"},
		"set: Latin-1":     {"{\"key\":\"k\",\"event\":\"e\",\"set\":{\"a\":\"m\xfcller\"}}", versioning.Change{}, "decode JSON"},
		"set: deep down":   {"{\"key\":\"k\",\"event\":\"e\",\"set\":{\"a\":[{\"b\":\"m\xfcller\"}]}}", versioning.Change{}, "decode JSON"},
		"set: surrogate":   {`{"key":"k","event":"e","set":{"a":"\udc00x"}}`, versioning.Change{}, "decode JSON"},
		"set: in a name":   {"{\"key\":\"k\",\"event\":\"e\",\"set\":{\"m\xfcller\":1}}", versioning.Change{}, "decode JSON"},
		"true text": {
			`{"key":"m\u00fcller \ud83d\ude00 \ufffd","event":"e","set":{"a":"müller 😀 \ufffd"}}`,
			versioning.Change{Key: "müller 😀 \ufffd", Event: "e", Set: versioning.Columns{"a": "müller 😀 \ufffd"}},
			"",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			changes, err := consumer.DecodeMessage(&versioning.Record{Value: []byte(tt.value)})
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]versioning.Change{tt.want}, changes, compareExpected); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeTombstone(t *testing.T) {
	t.Parallel()
	_, err := consumer.DecodeMessage(&versioning.Record{Key: []byte("k")})
	if err == nil || !strings.Contains(err.Error(), "tombstone") {
		t.Errorf("error %v, want one about a tombstone", err)
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	type order struct {
		ID    string `json:"id"`
		Cents int64  `json:"cents"`
	}
	errNegative := errors.New("negative")
	decode := consumer.JSON(func(o order, r *versioning.Record) ([]versioning.Change, error) {
		if o.Cents < 0 {
			return nil, errNegative
		}
		return []versioning.Change{{Key: o.ID, Event: "placed", MessageID: string(r.Key), Set: versioning.Columns{"cents": o.Cents}}}, nil
	})
	tests := map[string]struct {
		value []byte
		want  []versioning.Change
		err   error
	}{
		"good":         {[]byte(`{"id":"a","cents":5}`), []versioning.Change{{Key: "a", Event: "placed", MessageID: "key", Set: versioning.Columns{"cents": int64(5)}}}, nil},
		"its error":    {[]byte(`{"id":"a","cents":-5}`), nil, errNegative},
		"wrong type":   {[]byte(`{"id":5}`), nil, cmpopts.AnyError},
		"two of them":  {[]byte(`{"id":"a"}{"id":"b"}`), nil, cmpopts.AnyError},
		"tombstone":    {nil, nil, cmpopts.AnyError},
		"empty string": {[]byte{}, nil, cmpopts.AnyError},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := decode(&versioning.Record{Key: []byte("key"), Value: tt.value})
			if !cmp.Equal(err, tt.err, cmpopts.EquateErrors()) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, got, compareExpected); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
		})
	}
}

// amount decodes a json.Number with the options of the whole message.
type amount struct{ digits string }

func (a *amount) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	var n struct{ Value json.Number }
	err := jsonv2.UnmarshalDecode(d, &n)
	a.digits = n.Value.String()
	return err
}

// A json.Number in a type's own method is decoded like any other.
func TestJSONNumberInMethod(t *testing.T) {
	t.Parallel()
	type message struct{ Amount amount }
	decode := consumer.JSON(func(m message, _ *versioning.Record) ([]versioning.Change, error) {
		return []versioning.Change{{Key: m.Amount.digits}}, nil
	})
	changes, err := decode(&versioning.Record{Value: []byte(`{"Amount":{"Value":1.50}}`)})
	if err != nil || changes[0].Key != "1.50" {
		t.Errorf("%v, %v, want 1.50", changes, err)
	}
}

// Text is never altered on its way into the row: a record that contains text that is not UTF-8
// or not a character, anywhere, is Rejected.
func TestJSONTakesTextAsItIs(t *testing.T) {
	t.Parallel()
	type plain struct {
		Text, Field string
		Bytes       []byte
		Map         map[string]int
		Texts       map[named]string
		Any         any
		Raw         json.RawMessage
		Raws        []json.RawMessage
		Own         own
		OwnText     ownText
	}
	type numbers struct { // json.Number needs other options
		plain
		Number json.Number
	}
	decoders := []consumer.DecodeFunc{accepts[plain](t), accepts[numbers](t)}
	for _, bad := range []string{"m\xfcller", "\xc3", "\xed\xa0\x80", `\ud800`, `\uDC00`, `\ud800\ud800`, `\ud800x`, `\udc00\ud800`} {
		for _, form := range []string{
			`"%s"`, `{"Text":"%s"}`, `{"%s":1}`, `{"Field":"a","more":["%s"]}`, `{"more":{"%s":1}}`, `{"Text":"%s","Text":"good"}`, `{"Bytes":"%s"}`,
			`{"Map":{"%s":1}}`, `{"Texts":{"%s":"x"}}`, `{"Texts":{"x":"%s"}}`, `{"Any":"%s"}`, `{"Any":{"%s":1}}`, `{"Any":[{"a":"%s"}]}`,
			`{"Raw":"%s"}`, `{"Raw":{"%s":1}}`, `{"Raws":[1,["%s"]]}`, `{"Number":"%s"}`, `{"Own":"%s"}`, `{"Own":{"a":"%s"}}`, `{"OwnText":"%s"}`,
		} {
			for _, decode := range decoders {
				if _, err := decode(&versioning.Record{Value: fmt.Appendf(nil, form, bad)}); err == nil {
					t.Errorf("no error for %q in %s", bad, form)
				}
			}
		}
	}
}

// accepts returns a decoder that fails the test if it accepts something.
func accepts[T any](t *testing.T) consumer.DecodeFunc {
	return consumer.JSON(func(v T, _ *versioning.Record) ([]versioning.Change, error) {
		t.Errorf("accepted as %+v", v)
		return nil, nil
	})
}

type named string

// own is a type with an UnmarshalJSON method, ownText one with UnmarshalText.
type (
	own     struct{ text string }
	ownText struct{ text string }
)

func (o *own) UnmarshalJSON(text []byte) error     { o.text = string(text); return nil }
func (o *ownText) UnmarshalText(text []byte) error { o.text = string(text); return nil }

// DecodeMessage never panics, and what it accepts says the same when it is
// written as a Message and read again.
func FuzzDecodeMessage(f *testing.F) {
	f.Add([]byte(`{"machine":"m","key":"k","event":"e","id":"i","expected_version":7,"set":{"a":"x","b":null,"c":1e9,"d":{"e":[]}}}`))
	f.Add([]byte(`{"key":"k","event":"e","set":{"a":12345678901234567890}}`))
	f.Add([]byte(`{"key":"\ud800","event":"e"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, value []byte) {
		changes, err := consumer.DecodeMessage(&versioning.Record{Value: value})
		if err != nil {
			return
		}
		if len(changes) != 1 || changes[0].Key == "" || changes[0].Event == "" {
			t.Fatalf("accepted %q as %v", value, changes)
		}
		var m consumer.Message
		if err := json.Unmarshal(value, &m); err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		reread, err := consumer.DecodeMessage(&versioning.Record{Value: again})
		if err != nil {
			t.Fatalf("%q was accepted, but not %q: %v", value, again, err)
		}
		if diff := cmp.Diff(compact(changes), compact(reread), compareExpected); diff != "" {
			t.Errorf("%q says something else than %q:\n%s", value, again, diff)
		}
	})
}

// compact normalizes JSON in columns, because encoding a Message removes white space and
// escapes characters that are special in HTML.
func compact(changes []versioning.Change) []versioning.Change {
	for _, c := range changes {
		for name, value := range c.Set {
			text, ok := value.(string)
			if !ok {
				continue
			}
			var b bytes.Buffer
			if json.Compact(&b, []byte(text)) == nil {
				var escaped bytes.Buffer
				json.HTMLEscape(&escaped, b.Bytes())
				c.Set[name] = escaped.String()
			}
		}
	}
	return changes
}

// An error or a panic of Decode affects only the verdict of its record.
func TestDecodeFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t)
		b.topic("orders", 1)
		b.produce("orders", 0, "good", "error", "panic", "panic error", "none", "refusal", "last")
		errs := make(map[string]error)
		store := newFake()
		store.on(func(_ context.Context, records []*versioning.Record) (int, error) {
			for _, r := range records {
				errs[string(r.Key)] = r.Err
				if r.Err != nil && len(r.Changes) != 0 {
					t.Errorf("record %q has an error and changes", r.Key)
				}
			}
			return -1, nil
		})
		errOwn := errors.New("secret")
		cfg := b.config(consumer.Classic, store, "orders")
		cfg.Decode = func(r *versioning.Record) ([]versioning.Change, error) {
			switch string(r.Key) {
			case "error":
				return nil, errOwn
			case "panic":
				panic("secret")
			case "panic error":
				panic(errOwn)
			case "none":
				return nil, nil
			case "refusal":
				return nil, &versioning.Refusal{Reason: versioning.ReasonRefused, Err: errOwn}
			}
			return decodeKey(r)
		}
		w := start(t, cfg)
		b.awaitCommitted("orders", 0, 7)
		w.stop()
		for _, key := range []string{"good", "none", "last"} {
			if errs[key] != nil {
				t.Errorf("record %q has error %v", key, errs[key])
			}
		}
		for _, key := range []string{"error", "panic error", "refusal"} {
			if !errors.Is(errs[key], errOwn) {
				t.Errorf("record %q has error %v, want %v", key, errs[key], errOwn)
			}
		}
		for _, key := range []string{"panic", "panic error"} {
			panicked, ok := errors.AsType[*consumer.PanicError](errs[key])
			if !ok || !strings.Contains(panicked.Error(), "secret") || !strings.Contains(panicked.Error(), "decode_test.go") {
				t.Errorf("record %q has error %v, want a PanicError with value and stack", key, errs[key])
			}
		}
		if lines := w.logs.matching("secret"); len(lines) != 0 {
			t.Errorf("logged: %q", lines)
		}
	})
}

// Records are decoded like encoding/json does, except text that encoding/json would alter,
// which is refused.
func FuzzJSONLikeStandard(f *testing.F) {
	type inner struct {
		A int
		B []byte
		C *string
	}
	type message struct {
		inner
		Map     map[string]any
		Any     any
		Raw     json.RawMessage
		Pair    [2]int
		Float   float64 `json:"float,omitempty"`
		Time    time.Time
		Quoted  int64  `json:",string"`
		Skipped string `json:"-"`
	}
	type numbers struct { // json.Number needs other options
		message
		Number   json.Number
		Numbers  []json.Number
		ByName   map[string]json.Number
		Optional *json.Number
	}
	for _, value := range []string{
		`{"a":1}`, `{"A":1,"a":2}`, `{"A":1,"A":null}`, `{"A":1.5}`, `{"A":1e400}`, `{"B":"aGk="}`, `{"B":"no base64"}`,
		"{\"C\":\"\xff\"}", `{"C":"\ud800"}`, `{"C":null}`, `{"Map":{"x":1e3,"y":[{}]},"map":{"z":null}}`, `{"Any":12345678901234567890}`,
		`{"Raw":{"a": 1}}`, `{"Raw":null}`, `{"Pair":[1,2,3]}`, `{"Pair":[1]}`, `{"FLOAT":-0.0}`, `{"Time":"2026-11-24T09:30:00Z"}`, `{"Time":"today"}`,
		`{"Quoted":"5"}`, `{"Quoted":5}`, `{"Number":5}`, `{"Number":"5"}`, `{"Number":"x"}`, `{"Number":null}`, `{"number":1e400}`,
		`{"Numbers":[1,2.5,null]}`, `{"ByName":{"a":1}}`, `{"Optional":5}`, `{"Optional":null}`, `{"Skipped":"x","more":[1]}`,
		`{"Map":{"x":1,"x":{}},"Any":{"a":1,"a":2}}`, `{"ByName":{"a":1,"a":2}}`, `{"C":"\ud83d\ude00"}`, `{"C":"\\ud800"}`, `{"C":"\ufffd"}`, "{\"more\":\"\xff\"}",
		``, ` `, `null`, `[]`, `5`, `{"A":1} x`, `{} {}`, "{}\x00", "\xef\xbb\xbf{}", "\t{ }\r\n", `{"A":01}`, `{"A":1,}`,
	} {
		f.Add([]byte(value))
	}
	compare := cmp.Options{cmp.AllowUnexported(numbers{}, message{}, inner{}), cmpopts.EquateNaNs()}
	f.Fuzz(func(t *testing.T, value []byte) {
		decodesLikeStandard[message](t, value, compare)
		decodesLikeStandard[numbers](t, value, compare)
	})
}

func decodesLikeStandard[T any](t *testing.T, value []byte, compare cmp.Option) {
	t.Helper()
	var want T
	wantErr := json.Unmarshal(value, &want)
	decode := consumer.JSON(func(got T, _ *versioning.Record) ([]versioning.Change, error) {
		if diff := cmp.Diff(want, got, compare); diff != "" {
			t.Errorf("%q (-encoding/json +ours):\n%s", value, diff)
		}
		return nil, nil
	})
	_, err := decode(&versioning.Record{Value: value})
	if wantErr == nil && altersText(value) {
		if err == nil {
			t.Errorf("%q: no error, although its text is altered", value)
		}
		return
	}
	if (err == nil) != (wantErr == nil) {
		t.Errorf("%q: %v, encoding/json says: %v", value, err, wantErr)
	}
}

// A surrogateEscape matches an escaped backslash, which is skipped, the escape of a pair of
// surrogates, or that of a lone one.
var surrogateEscape = regexp.MustCompile(`\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}`)

// encoding/json ignores mistakes in types. (go vet finds most of them.)
func TestJSONTypes(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`{"m":1,"ID":2,"id":3}`, `{"M":1}`, `{"m":[1]}`, `{"m":"1"}`, `{"m":null}`, `{`, `{"m":{}}`} {
		value := []byte(text)
		decodesLikeStandard[struct {
			M []int `json:"m,string"` //nolint:staticcheck // as users may write it
		}](t, value, nil)
		decodesLikeStandard[struct{ ID, Id int }](t, value, nil) //nolint:revive // as users may write it
	}
}

// altersText reports whether a JSON document has text that encoding/json replaces with U+FFFD:
// bytes that are not UTF-8, or the escape of a lone surrogate.
func altersText(document []byte) bool {
	const lone = len(`\ud800`)
	return !utf8.Valid(document) || slices.ContainsFunc(surrogateEscape.FindAll(document, -1), func(escape []byte) bool {
		return len(escape) == lone
	})
}

func BenchmarkJSON(b *testing.B) {
	type order struct{ Key, Event, At, Customer, Total, Currency, Channel string }
	decode := consumer.JSON(func(order, *versioning.Record) ([]versioning.Change, error) { return nil, nil })
	records := make([]*versioning.Record, 1000)
	for i := range records {
		records[i] = &versioning.Record{Value: fmt.Appendf(nil, `{"key":"order-%07d","event":"order.captured","at":"2026-11-24T09:30:00.%06dZ",`+
			`"customer":"customer-%08x","total":"%d.90","currency":"EUR","channel":"web"}`, i, i*37, i*7919, i)}
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, err := decode(records[i%len(records)]); err != nil {
			b.Fatal(err)
		}
		i++
	}
}
