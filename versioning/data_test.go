package versioning_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/versioning"
)

// decimal has unexported fields and marshalers as text.
type decimal struct {
	coefficient int64
	scale       int
}

var errScale = errors.New("negative scale")

func (d decimal) MarshalText() ([]byte, error) {
	if d.scale < 0 {
		return nil, errScale
	}
	return fmt.Appendf(nil, "%de-%d", d.coefficient, d.scale), nil
}

func (d *decimal) UnmarshalText(text []byte) error {
	_, err := fmt.Sscanf(string(text), "%de-%d", &d.coefficient, &d.scale)
	return err
}

// ratio has unexported fields and marshalers as JSON, of its pointer only.
type ratio struct{ over, under float64 }

func (r *ratio) MarshalJSON() ([]byte, error) { return json.Marshal([]float64{r.over, r.under}) }

func (r *ratio) UnmarshalJSON(text []byte) error {
	var parts [2]float64
	err := json.Unmarshal(text, &parts)
	r.over, r.under = parts[0], parts[1]
	return err
}

// tags is a map with marshalers.
type tags map[string]bool

func (s tags) MarshalText() ([]byte, error) { return bytes.Repeat([]byte("x"), len(s)), nil }

func (s *tags) UnmarshalText(text []byte) error {
	*s = tags{}
	for i := range len(text) {
		(*s)[fmt.Sprint(i)] = true
	}
	return nil
}

type (
	color   uint8
	payment struct {
		Payment  string
		Amount   int64
		Currency string
		At       time.Time
	}
	point struct {
		X, Y float64
	}
	Base struct { // exported, so that it can be embedded
		Serial uint64 `json:"serial,omitempty"`
	}
	tree struct {
		Name string
		Kids []*tree
		By   map[string]tree
	}
	chain struct{ Next *chain }
	rings []rings
	deep  struct {
		Nil    **int
		Slice  *[]string
		Slices [][]string
		Maps   map[string]map[int]string
		Array  [2][]byte
		Map    *map[point]*payment
	}
	everything struct {
		Base
		Bool     bool `json:"b"`
		Int      int
		Int8     int8
		Int64    int64 `json:"-"`
		Uint16   uint16
		Uint64   uint64
		Float32  float32
		Float64  float64
		Text     string `json:"<text>/é"`
		Color    color
		Bytes    []byte
		Colors   []color
		UUID     [4]byte
		Raw      json.RawMessage
		IP       net.IP
		Addr     netip.Addr
		Time     time.Time
		Duration time.Duration
		Times    []time.Time
		Big      *big.Int
		Decimal  decimal
		Decimals map[decimal]*decimal
		Ratio    ratio
		Ratios   []*ratio
		Tags     tags
		Floats   map[float64]float32
		Grid     [2][2]point
		Tree     *tree
		Rings    rings
		Deep     deep
	}
	signed  struct{ Point point }
	stamped struct { // time.Time gives it marshalers that forget the amount
		time.Time
		Amount int
	}
)

func dataType(t testing.TB, value any) *versioning.DataType {
	t.Helper()
	d, err := versioning.DataTypeOf(reflect.TypeOf(value))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func encoded(t testing.TB, d *versioning.DataType, value any) string {
	t.Helper()
	text, err := d.Encode(value)
	if err != nil {
		t.Fatalf("encoding %#v: %v", value, err)
	}
	return string(text)
}

var nan = math.NaN()

// sameData compares like reflect.DeepEqual, but NaNs are equal, -0 and 0 are not, and times
// are equal that have the same instant and offset.
var sameData = cmp.Options{
	cmp.AllowUnexported(decimal{}, ratio{}),
	cmp.Comparer(func(x, y float64) bool { return x == y && math.Signbit(x) == math.Signbit(y) || x != x && y != y }),
	cmp.Comparer(func(x, y float32) bool {
		return x == y && math.Signbit(float64(x)) == math.Signbit(float64(y)) || x != x && y != y
	}),
	cmp.Comparer(func(x, y big.Int) bool { return x.Cmp(&y) == 0 }),
	cmp.Comparer(func(x, y netip.Addr) bool { return x == y }),
	cmp.Comparer(func(x, y time.Time) bool {
		_, a := x.Zone()
		_, b := y.Zone()
		return x.Equal(y) && a == b
	}),
}

func TestDataText(t *testing.T) {
	t.Parallel()
	india := time.FixedZone("IST", 5*3600+1800)
	for _, test := range []struct {
		value any
		want  string
	}{
		{true, "true"},
		{int64(math.MinInt64), "-9223372036854775808"},
		{int64(1<<53 + 1), "9007199254740993"},
		{uint64(math.MaxUint64), "18446744073709551615"},
		{int8(-128), "-128"},
		{0.0, "0"},
		{math.Copysign(0, -1), `"-0"`},
		{float32(math.Copysign(0, -1)), `"-0"`},
		{nan, `"NaN"`},
		{float32(math.Inf(1)), `"+Inf"`},
		{math.Inf(-1), `"-Inf"`},
		{0.1, "0.1"},
		{float32(0.1), "0.1"},
		{1e21, "1e+21"},
		{1234567.0, "1234567"},
		{math.SmallestNonzeroFloat64, "5e-324"},
		{math.MaxFloat64, "1.7976931348623157e+308"},
		{float32(math.MaxFloat32), "3.4028235e+38"},

		{"", `""`},
		{"<é\u2028> \x7f", "\"<é\u2028> \x7f\""},
		{"a\"b\\c\n\x1f", `"a\"b\\c\u000a\u001f"`},
		{"a\x00", `{"base64":"YQA="}`},
		{"a\xff", `{"base64":"Yf8="}`},

		{[]byte(nil), "null"},
		{[]byte{}, `""`},
		{[]byte("a\x00\xff"), `"YQD/"`},
		{[]color{1, 2}, `"AQI="`},
		{[2]byte{1, 2}, `"AQI="`},
		{[0]int{}, "[]"},
		{json.RawMessage("{ \"a\" : 1.0}"), `"eyAiYSIgOiAxLjB9"`},
		{net.IPv4(1, 2, 3, 4).To4(), `"AQIDBA=="`},

		{[]int(nil), "null"},
		{[]int{}, "[]"},
		{[]int{0, 1}, "[0,1]"},
		{[][]int{nil, {}, {1}}, "[null,[],[1]]"},
		{[2]bool{true}, "[true,false]"},
		{map[string]int(nil), "null"},
		{map[string]int{}, "[]"},
		{map[string]int{"b": 1, "a\x00": 2, "": 3}, `[["",3],["b",1],[{"base64":"YQA="},2]]`},
		{map[int]bool{2: true, 10: false}, "[[10,false],[2,true]]"},
		{map[point]int{{X: 1}: 1, {}: 2}, `[[{"X":1},1],[{},2]]`},
		{map[netip.Addr]int{netip.MustParseAddr("::1"): 1}, `[["::1",1]]`},

		{(*int)(nil), "null"},
		{new(0), "0"},
		{new(new(0)), "[0]"},
		{new((*int)(nil)), "[null]"},
		{new([]int(nil)), "[null]"},
		{new([]int{}), "[[]]"},
		{new([]byte(nil)), "[null]"},
		{new(map[int]int(nil)), "[null]"},
		{new(tags(nil)), "[null]"},
		{new(new([]int(nil))), "[[null]]"},
		{[]*int{nil, new(1)}, "[null,1]"},

		{time.Time{}, `"0001-01-01T00:00:00Z"`},
		{time.Date(2026, 9, 18, 5, 43, 1, 120000001, time.UTC), `"2026-09-18T05:43:01.120000001Z"`},
		{time.Date(2026, 9, 18, 5, 43, 1, 0, india), `"2026-09-18T05:43:01+05:30"`},
		{time.Date(0, 1, 1, 0, 0, 0, 0, time.FixedZone("", 23*3600)), `"0000-01-01T00:00:00+23:00"`},
		{time.Date(1850, 1, 1, 0, 0, 0, 1, time.FixedZone("LMT", 53*60+28)), `"1850-01-01T00:00:00.000000001+00:53:28"`},
		{time.Date(1850, 1, 1, 0, 0, 0, 0, time.FixedZone("LMT", -(7*3600+52*60+58))), `"1850-01-01T00:00:00-07:52:58"`},
		{90 * time.Second, "90000000000"},

		{*big.NewInt(0).Lsh(big.NewInt(1), 70), `"1180591620717411303424"`},
		{big.NewInt(0), `"0"`},
		{decimal{1999, 2}, `"1999e-2"`},
		{[]decimal{{}}, `["0e-0"]`},
		{ratio{1, 2}, `"[1,2]"`},
		{[]ratio{{1, 3}}, `["[1,3]"]`},
		{tags{"0": true}, `"x"`},
		{[]tags{nil}, "[null]"},
		{stamped{Time: time.Unix(0, 0).UTC(), Amount: 3}, `{"Amount":3,"Time":"1970-01-01T00:00:00Z"}`},

		{payment{}, "{}"},
		{payment{Amount: 1, Currency: "EUR"}, `{"Amount":1,"Currency":"EUR"}`},
		{signed{point{X: math.Copysign(0, -1)}}, `{"Point":{"X":"-0"}}`},
		{struct{ R ratio }{ratio{over: 1}}, `{"R":"[1,0]"}`},
		{struct{ R ratio }{ratio{over: math.Copysign(0, -1)}}, `{"R":"[-0,0]"}`},
		{struct{ P [1]float32 }{[1]float32{float32(math.Copysign(0, -1))}}, `{"P":["-0"]}`},
		{everything{Base: Base{1}, Int64: 2, Bool: true}, `{"Base":{"serial":1},"Int64":2,"b":true}`},
		{deep{Slice: new([]string(nil)), Maps: map[string]map[int]string{"a": nil}}, `{"Maps":[["a",null]],"Slice":[null]}`},
		{tree{Name: "a", Kids: []*tree{nil, {Name: "b", Kids: []*tree{}}}}, `{"Kids":[null,{"Kids":[],"Name":"b"}],"Name":"a"}`},
		{rings{nil, {}, {{}}}, "[null,[],[[]]]"},
	} {
		t.Run(test.want, func(t *testing.T) {
			t.Parallel()
			d := dataType(t, test.value)
			got := encoded(t, d, test.value)
			if got != test.want {
				t.Errorf("%#v is encoded as %s, want %s", test.value, got, test.want)
			}
			decoded, err := d.Decode(jsonb(t, got))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.value, decoded, sameData); diff != "" {
				t.Errorf("decoding %s (-want +got):\n%s", got, diff)
			}
			if again := encoded(t, d, decoded); again != got {
				t.Errorf("%s is %s when encoded again", got, again)
			}
		})
	}
}

// cmp can't compare such maps.
func TestDataKeysOfNaN(t *testing.T) {
	t.Parallel()
	value := map[[1]float64]int{{nan}: 2, {1}: 3}
	value[[1]float64{nan}] = 1
	d := dataType(t, value)
	const want = `[[["NaN"],1],[["NaN"],2],[[1],3]]`
	if got := encoded(t, d, value); got != want {
		t.Fatalf("%v is encoded as %s, want %s", value, got, want)
	}
	decoded, err := d.Decode([]byte(want))
	if err != nil {
		t.Fatal(err)
	}
	if got := encoded(t, d, decoded); got != want {
		t.Errorf("%s is %s when encoded again", want, got)
	}
}

func TestDataTimes(t *testing.T) {
	t.Parallel()
	d := dataType(t, time.Time{})
	now := time.Now()
	got, err := d.Decode([]byte(encoded(t, d, now)))
	if want := now.Round(0); err != nil || !got.(time.Time).Equal(want) {
		t.Errorf("got %v, %v, want %v without the monotonic clock reading", got, err, want)
	}
	utc := time.Date(2026, 9, 18, 5, 43, 0, 0, time.UTC)
	if got, err = d.Decode([]byte(encoded(t, d, utc))); err != nil || got != any(utc) {
		t.Errorf("got %#v, %v, want the very value %#v", got, err, utc)
	}
	inZone := payment{At: time.Time{}.In(time.FixedZone("GMT", 0))}
	if got := encoded(t, dataType(t, inZone), inZone); got != "{}" {
		t.Errorf("the zero time in a zone without an offset is %s, which would be {} after decoding", got)
	}
	inZone.At = time.Time{}.In(time.FixedZone("CET", 3600))
	if got, want := encoded(t, dataType(t, inZone), inZone), `{"At":"0001-01-01T01:00:00+01:00"}`; got != want {
		t.Errorf("the zero time in a zone with an offset is %s, want %s", got, want)
	}
}

func TestDataTypeErrors(t *testing.T) {
	t.Parallel()
	type Line struct{ Notify chan int }
	type Self struct {
		Kids []*Self
		Do   func()
	}
	type capture struct {
		Notify  chan int
		Any     any
		Lines   []Line
		Line    *Line
		By      map[string]Line
		private int //nolint:unused // it is the point
		A       int `json:"B,omitempty"`
		B       int
		Tag     int `json:"\x00"`
		Keys    map[*int]bool
		Times   map[struct{ At [1]time.Time }]complex64
		Address uintptr
		Self    Self
	}
	_, err := versioning.DataTypeOf(reflect.TypeFor[capture]())
	wantError(t, err, `capture.Notify: a chan can't be stored
capture.Any: an interface can't be stored
capture.Lines[].Notify: a chan can't be stored
capture.Line.Notify: a chan can't be stored
capture.By[].value.Notify: a chan can't be stored
capture.private: an unexported field can't be stored, except in a struct with MarshalText and UnmarshalText, or MarshalJSON and UnmarshalJSON
capture.B: field A is named "B" too
capture.Tag: the name "\x00" in its json tag can't be stored
capture.Keys[].key: a map key with a pointer or a time.Time can't be stored: it would not be found after decoding
capture.Times[].value: a complex number can't be stored
capture.Times[].key: a map key with a pointer or a time.Time can't be stored: it would not be found after decoding
capture.Address: a uintptr can't be stored
capture.Self.Do: a func can't be stored`)
	_, again := versioning.DataTypeOf(reflect.TypeFor[capture]())
	wantError(t, again, err.Error())
	_, err = versioning.DataTypeOf(reflect.TypeFor[[]error]())
	wantError(t, err, "[]error[]: an interface can't be stored")
	_, err = versioning.DataTypeOf(nil)
	wantError(t, err, "nil has no type, so it can't be stored")
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("got the error\n%v\nwant\n%s", err, want)
	}
}

func TestDataEncodeErrors(t *testing.T) {
	t.Parallel()
	type order struct {
		Lines []decimal
		At    map[string]*time.Time
		Named map[tagged]int
	}
	year := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	odd := time.Unix(0, 0).In(time.FixedZone("", -30))
	far := time.Unix(0, 0).In(time.FixedZone("", 100*3600))
	loop := &chain{}
	loop.Next = loop
	knot := rings{nil}
	knot[0] = knot
	for _, test := range []struct {
		value any
		want  string
	}{
		{order{Lines: []decimal{{}, {scale: -1}}}, "order.Lines[1]: negative scale"},
		{order{At: map[string]*time.Time{"due": &year}}, `order.At["due"]: a year outside 0 to 9999 can't be stored`},
		{order{Named: map[tagged]int{{1}: 1, {2}: 2}}, `order.Named: two keys have the text "x"`},
		{odd, "Time: an offset of -30 seconds can't be stored"},
		{far, "Time: an offset of 360000 seconds can't be stored"},
		{map[decimal]int{{scale: -1}: 1}, "map[versioning_test.decimal]int[].key: negative scale"},
		{loop, "*versioning_test.chain" + strings.Repeat(".Next", 100) + ": pointers, slices and maps are nested more than 100 deep, or in a cycle"},
		{knot, "rings" + strings.Repeat("[0]", 100) + ": pointers, slices and maps are nested more than 100 deep, or in a cycle"},
	} {
		_, err := dataType(t, test.value).Encode(test.value)
		wantError(t, err, test.want)
	}
	scale := []decimal{{scale: -1}}
	if _, err := dataType(t, scale).Clone(scale); !errors.Is(err, errScale) {
		t.Errorf("the error of a marshaler is %v", err)
	}
	d := dataType(t, payment{})
	const wrong = "data has the type *versioning_test.payment, want versioning_test.payment"
	_, err := d.Encode(&payment{})
	wantError(t, err, wrong)
	_, err = d.Clone(&payment{})
	wantError(t, err, wrong)
	_, err = d.Encode(nil)
	wantError(t, err, "data has the type <nil>, want versioning_test.payment")
	dst, err := d.AppendTo([]byte("a"), payment{At: year})
	wantError(t, err, "payment.At: a year outside 0 to 9999 can't be stored")
	if string(dst) != "a" {
		t.Errorf("AppendTo left %q", dst)
	}
}

// tagged forgets its number in its text.
type tagged struct{ number int }

func (tagged) MarshalText() ([]byte, error) { return []byte("x"), nil }
func (*tagged) UnmarshalText([]byte) error  { return errors.New("forgotten") }

func TestDataDecodeErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		value      any
		text, want string
	}{
		{payment{}, `{"Amount":1`, "payment: not valid JSON"},
		{payment{}, "{\"Payment\":\"\xff\"}", "payment: not valid JSON"},
		{payment{}, ``, "payment: not valid JSON"},
		{payment{}, `[]`, "payment: want an object, got an array"},
		{payment{}, `{"amount":1}`, "payment.amount: unknown field"},
		{payment{}, `{"Amount":null}`, "payment.Amount: want a number, got null"},
		{payment{}, `{"Amount":1.5}`, `payment.Amount: strconv.ParseInt: parsing "1.5": invalid syntax`},
		{payment{}, `{"Amount":9223372036854775808}`, `payment.Amount: strconv.ParseInt: parsing "9223372036854775808": value out of range`},
		{payment{}, `{"Payment":true}`, "payment.Payment: want a string, got a boolean"},
		{payment{}, `{"Payment":{}}`, `payment.Payment: want a string or {"base64":...}, got an empty object`},
		{payment{}, `{"Payment":{"text":""}}`, `payment.Payment: want a string or {"base64":...}, got an object with "text"`},
		{payment{}, `{"Payment":{"base64":1}}`, "payment.Payment: want a string, got a number"},
		{payment{}, `{"Payment":{"base64":"","a":1}}`, `payment.Payment: want only "base64" in the object of a string`},
		{payment{}, `{"At":"yesterday"}`, `payment.At: parsing time "yesterday" as "2006-01-02T15:04:05.999999999Z07:00": cannot parse "yesterday" as "2006"`},
		{everything{}, `{"Deep":{"Slices":[["a"],["b",{"c":1}]]}}`, `everything.Deep.Slices[1][1]: want a string or {"base64":...}, got an object with "c"`},
		{everything{}, `{"Floats":[[1,2],[1,3]]}`, "everything.Floats[1]: the key occurs twice"},
		{everything{}, `{"Floats":[[1,2,3]]}`, "everything.Floats[0]: too many elements"},
		{everything{}, `{"Floats":[[1]]}`, "everything.Floats[0]: too few elements"},
		{everything{}, `{"Floats":[["1",2]]}`, `everything.Floats[0].key: "1" is not a number`},
		{everything{}, `{"Floats":[[1,1e39]]}`, `everything.Floats[0].value: strconv.ParseFloat: parsing "1e39": value out of range`},
		{everything{}, `{"Grid":[[],[]]}`, "everything.Grid[0]: too few elements"},
		{everything{}, `{"UUID":"AQ=="}`, "everything.UUID: want 4 bytes, got 1"},
		{everything{}, `{"Bytes":"?"}`, "everything.Bytes: illegal base64 data at input byte 0"},
		{everything{}, `{"b":0}`, "everything.Bool: want a boolean, got a number"},
		{everything{}, `{"Color":256}`, `everything.Color: strconv.ParseUint: parsing "256": value out of range`},
		{everything{}, `{"Decimal":"x"}`, "everything.Decimal: expected integer"},
		{new(new(0)), `[1,2]`, "**int: too many elements"},
		{new(new(0)), `[]`, "**int: too few elements"},
		{new(new(0)), `1`, "**int: want an array, got a number"},
		{new(new(0)), `["a"]`, "**int: want a number, got a string"},
		{everything{}, `{"Color":{}}`, "everything.Color: want a number, got an object"},
		{everything{}, `{"Floats":{}}`, "everything.Floats: want an array, got an object"},
		{everything{}, `{"Decimal":[]}`, "everything.Decimal: want a string, got an array"},
		{rings{}, strings.Repeat("[", 101) + strings.Repeat("]", 101), "rings" + strings.Repeat("[0]", 100) + ": pointers, slices and maps are nested more than 100 deep, or in a cycle"},
	} {
		got, err := dataType(t, test.value).Decode([]byte(test.text))
		wantError(t, err, test.want)
		if got != nil {
			t.Errorf("decoding %s returned %#v with the error", test.text, got)
		}
	}
}

func TestDataFlat(t *testing.T) {
	t.Parallel()
	for _, value := range []any{payment{}, point{}, [2]string{}, decimal{}, time.Time{}, color(1), struct{}{}} {
		if !dataType(t, value).Flat() {
			t.Errorf("%T is not flat", value)
		}
	}
	for _, value := range []any{everything{}, []int{}, new(0), map[int]int{}, *big.NewInt(1), netip.Addr{}, [1][]int{}} {
		if dataType(t, value).Flat() {
			t.Errorf("%T is flat", value)
		}
	}
	if d := dataType(t, payment{}); d.Type() != reflect.TypeFor[payment]() {
		t.Errorf("the DataType of payment is that of %v", d.Type())
	}
}

// jsonb returns what PostgreSQL makes of JSON that is stored as jsonb.
func jsonb(t interface {
	Helper()
	Fatalf(string, ...any)
}, text string,
) []byte {
	t.Helper()
	in := json.NewDecoder(strings.NewReader(text))
	in.UseNumber()
	var value any
	if err := in.Decode(&value); err != nil {
		t.Fatalf("%s is not JSON: %v", text, err)
	}
	var normal func(any) any
	normal = func(value any) any {
		switch value := value.(type) {
		case json.Number:
			r, ok := new(big.Rat).SetString(value.String())
			if !ok {
				t.Fatalf("%s is not a number", value)
			}
			return json.Number(strings.TrimRight(strings.TrimRight(r.FloatString(400), "0"), "."))
		case string:
			if !versioning.StorableText(value) {
				t.Fatalf("jsonb can't store %q", value)
			}
		case []any:
			for i := range value {
				value[i] = normal(value[i])
			}
		case map[string]any:
			for name := range value {
				value[name] = normal(value[name])
			}
		}
		return value
	}
	stored, err := json.MarshalIndent(normal(value), "", " ")
	if err != nil {
		t.Fatalf("marshaling: %v", err)
	}
	return stored
}

func TestDataRoundTrip(t *testing.T) {
	t.Parallel()
	for _, value := range []any{
		everything{},
		&everything{},
		payment{},
		[]payment{},
		deep{},
		tree{},
		map[string]everything{},
		stamped{},
		[3]*deep{},
		rings{},
		chain{},
		map[point][]*string{},
	} {
		t.Run(fmt.Sprintf("%T", value), func(t *testing.T) {
			t.Parallel()
			d := dataType(t, value)
			rapid.Check(t, func(t *rapid.T) {
				v := reflect.New(d.Type()).Elem()
				drawData(t, v, 4)
				checkData(t, d, v.Interface())
			})
		})
	}
}

// checkData checks that a value survives jsonb, and that its clone shares no memory.
func checkData(t *rapid.T, d *versioning.DataType, value any) {
	text, err := d.Encode(value)
	if err != nil {
		t.Fatalf("encoding: %v", err)
	}
	stored := jsonb(t, string(text))
	got, err := d.Decode(stored)
	if err != nil {
		t.Fatalf("decoding: %v\n%s", err, text)
	}
	for i := range stored {
		stored[i] = '?' // the value may not share it
	}
	if diff := cmp.Diff(value, got, sameData); diff != "" {
		t.Fatalf("%s is decoded as (-want +got):\n%s", text, diff)
	}
	for range 3 {
		if again, err := d.Encode(got); err != nil || !bytes.Equal(again, text) {
			t.Fatalf("%s is %s when encoded again, %v", text, again, err)
		}
	}
	clone, err := d.Clone(value)
	if err != nil {
		t.Fatalf("cloning: %v", err)
	}
	if diff := cmp.Diff(value, clone, sameData); diff != "" {
		t.Fatalf("clone (-want +got):\n%s", diff)
	}
	scramble(reflect.ValueOf(clone))
	if after, err := d.Encode(value); err != nil || !bytes.Equal(after, text) {
		t.Fatalf("%s is %s after its clone was changed, %v", text, after, err)
	}
}

// drawData sets v to some value.
func drawData(t *rapid.T, v reflect.Value, depth int) {
	some := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "n") }
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		zone := time.FixedZone("", rapid.SampledFrom([]int{0, 0, 3600, -5400, 3208, 86340}).Draw(t, "offset"))
		*p = time.Unix(rapid.Int64Range(-62135596800-86400, 253402300799-86400).Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns")).In(zone)
		return
	case *big.Int:
		p.SetInt64(rapid.Int64().Draw(t, "big")).Lsh(p, uint(some(70)))
		return
	case *decimal:
		*p = decimal{rapid.Int64().Draw(t, "coefficient"), some(3)}
		return
	case *ratio:
		*p = ratio{rapid.Float64().Draw(t, "over"), rapid.Float64().Draw(t, "under")}
		return
	case *tags:
		*p = rapid.SampledFrom([]tags{nil, {}, {"0": true}}).Draw(t, "tags")
		return
	case *netip.Addr:
		*p = rapid.SampledFrom([]netip.Addr{{}, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fe80::1%eth0")}).Draw(t, "addr")
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, "int"))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(rapid.Uint64().Draw(t, "uint"))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{0, math.Copysign(0, -1), math.Inf(1), math.Inf(-1), 1e300})).Draw(t, "float"))
	case reflect.String:
		v.SetString(rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "\x00", "\xff", "\n\"\\", "\ufffd", "NaN", "null"})).Draw(t, "string"))
	case reflect.Struct:
		for _, field := range v.Fields() {
			if some(3) > 0 {
				drawData(t, field, depth)
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			drawData(t, v.Index(i), depth)
		}
	default:
		if depth > 0 && some(4) > 0 {
			drawReference(t, v, depth-1)
		}
	}
}

func drawReference(t *rapid.T, v reflect.Value, depth int) {
	n := rapid.IntRange(0, 3).Draw(t, "length")
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		drawData(t, v.Elem(), depth)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), n, n+1))
		for i := range n {
			drawData(t, v.Index(i), depth)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range n {
			key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			drawData(t, key, depth)
			drawData(t, elem, depth)
			v.SetMapIndex(key, elem)
		}
	default:
		t.Fatalf("can't draw a %s", v.Kind())
	}
}

// scramble changes everything that v refers to.
func scramble(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		if x, ok := reflect.TypeAssert[*big.Int](v); ok {
			for i := range x.Bits() {
				x.Bits()[i] ^= 1
			}
		}
		scramble(v.Elem())
		v.Elem().SetZero()
	case reflect.Slice:
		for i := range v.Len() {
			scramble(v.Index(i))
			if v.Index(i).IsZero() && v.Index(i).CanInt() {
				v.Index(i).SetInt(1)
			} else {
				v.Index(i).SetZero()
			}
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			scramble(v.MapIndex(key))
			v.SetMapIndex(key, reflect.Value{})
		}
	case reflect.Array:
		for i := range v.Len() {
			scramble(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				scramble(v.Field(i))
			}
		}
	default: // refers to nothing
	}
}

// FuzzDecodeData checks that no text panics, and that a value that was decoded is the same
// after it was encoded and decoded again.
func FuzzDecodeData(f *testing.F) {
	d := dataType(f, everything{})
	for _, text := range []string{
		`{}`, `{"b":true,"Int":-1,"Float64":"-0","Float32":1.50e2,"<text>/é":{"base64":"AA=="}}`,
		`{"Bytes":"AQ==","Raw":"","IP":null,"UUID":"AAAAAA==","Addr":"::1","Time":"1850-01-01T00:00:00+00:53:28"}`,
		`{"Big":"-7","Decimal":"1e-2","Decimals":[["1e-2",null],["1e-3","0e-0"]],"Ratio":"[1,2]","Ratios":["[0,0]"],"Tags":"x"}`,
		`{"Floats":[["NaN",1],["NaN","+Inf"]],"Grid":[[{},{"X":1}],[{},{}]],"Rings":[null,[]]}`,
		`{"Tree":{"Kids":[{"By":[["a\u0000",{"Name":"\ud800"}]]}]},"Deep":{"Nil":[null],"Slice":[["\n"]],"Map":[[[{"Y":2},{"Amount":9223372036854775807}]]]}}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		value, err := d.Decode(data)
		if err != nil {
			t.Skip(err)
		}
		text := encoded(t, d, value)
		again, err := d.Decode([]byte(text))
		if err != nil {
			t.Fatalf("decoding %s: %v", text, err)
		}
		if got := encoded(t, d, again); got != text {
			t.Errorf("%s became %s, and that %s", data, text, got)
		}
	})
}

func BenchmarkData(b *testing.B) {
	small := payment{Payment: "pay_4f1b2c", Amount: 129900, Currency: "EUR", At: time.Date(2026, 9, 18, 5, 43, 1, 0, time.UTC)}
	flat, pointed := dataType(b, small), dataType(b, &small)
	var value any = small
	text := []byte(encoded(b, flat, value))
	for _, bench := range []struct {
		name string
		run  func() error
	}{
		{"Encode", func() error { _, err := flat.Encode(value); return err }},
		{"AppendTo", func() error { var err error; text, err = flat.AppendTo(text[:0], value); return err }},
		{"Decode", func() error { _, err := flat.Decode(text); return err }},
		{"Clone/flat", func() error { _, err := flat.Clone(value); return err }},
		{"Clone/pointer", func() error { _, err := pointed.Clone(&small); return err }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := bench.run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
