package pawltest

import (
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A coder writes values as Go code for a package.
type coder struct {
	pkg string // the import path of the test's package, whose names need no qualifier
}

// callerPackage returns the package of the first caller that is not the kit.
func callerPackage() string {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		frame, more := frames.Next()
		pkg := packageOf(frame.Function)
		if pkg != kitPackage || !more {
			return pkg
		}
	}
}

var kitPackage = reflect.TypeFor[coder]().PkgPath()

// packageOf returns the package of a function by its name, such as "a.com/b/c_test.TestX.func1".
func packageOf(function string) string {
	slash := strings.LastIndex(function, "/") + 1
	dot := strings.Index(function[slash:], ".")
	if dot < 0 {
		return function
	}
	return function[:slash+dot]
}

// value returns Go code for a value. If a type has parts that code outside of its package can't
// write, ok is false.
func (c *coder) value(v any) (code string, ok bool) {
	if v == nil {
		return "nil", true
	}
	if raw, isRaw := v.(json.RawMessage); isRaw {
		return "json.RawMessage(" + quoteGo(string(raw)) + ")", true
	}
	return c.code(reflect.ValueOf(v), true)
}

// data returns Go code for the data of a change: as JSON if there is no better way.
func (c *coder) data(v any) string {
	code, ok := c.value(v)
	if ok {
		return code
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("nil /* a %T that can't be written as Go or JSON: %+v */", v, v)
	}
	return "json.RawMessage(" + quoteGo(string(text)) + ")"
}

// code returns the code of a value. typed says that a constant needs its type.
func (c *coder) code(v reflect.Value, typed bool) (string, bool) {
	switch v.Kind() {
	case reflect.Struct:
		return c.structure(v)
	case reflect.Slice, reflect.Array:
		return c.list(v)
	case reflect.Map:
		return c.mapping(v)
	case reflect.Interface:
		if v.IsNil() {
			return "nil", true
		}
		return c.code(v.Elem(), true)
	case reflect.Pointer:
		if v.IsNil() {
			return "nil", true
		}
		code, ok := c.code(v.Elem(), true)
		if v.Elem().Kind() == reflect.Struct && ok {
			return "&" + code, true
		}
		return "new(" + code + ")", ok // since Go 1.26
	default:
		return c.constant(v, typed)
	}
}

// untyped are the types that a constant has by itself.
var untyped = []reflect.Type{reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[float64](), reflect.TypeFor[string]()}

func (c *coder) constant(v reflect.Value, typed bool) (string, bool) {
	var text string
	switch k := v.Kind(); {
	case k == reflect.String:
		text = quoteGo(v.String())
	case k == reflect.Float32 || k == reflect.Float64:
		text = strconv.FormatFloat(v.Float(), 'g', -1, v.Type().Bits())
		if math.IsNaN(v.Float()) || math.IsInf(v.Float(), 0) {
			return "", false
		}
	case k == reflect.Bool:
		text = strconv.FormatBool(v.Bool())
	case v.CanInt():
		text = strconv.FormatInt(v.Int(), 10)
	case v.CanUint():
		text = strconv.FormatUint(v.Uint(), 10)
	default:
		return "", false
	}
	if typed && !slices.Contains(untyped, v.Type()) {
		text = c.name(v.Type()) + "(" + text + ")"
	}
	return text, true
}

func (c *coder) list(v reflect.Value) (string, bool) {
	if v.Kind() == reflect.Slice && v.IsNil() {
		return "nil", true
	}
	parts := make([]string, v.Len())
	for i := range parts {
		var ok bool
		if parts[i], ok = c.code(v.Index(i), false); !ok {
			return "", false
		}
	}
	return c.name(v.Type()) + "{" + strings.Join(parts, ", ") + "}", true
}

func (c *coder) structure(v reflect.Value) (string, bool) {
	if at, ok := reflect.TypeAssert[time.Time](v); ok {
		u := at.UTC()
		return fmt.Sprintf("time.Date(%d, %d, %d, %d, %d, %d, %d, time.UTC)",
			u.Year(), u.Month(), u.Day(), u.Hour(), u.Minute(), u.Second(), u.Nanosecond()), true
	}
	if _, ok := reflect.TypeAssert[encoding.TextMarshaler](v); ok {
		return "", false // such as a decimal: its fields are not its own affair only
	}
	var parts []string
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if v.Field(i).IsZero() {
			continue
		}
		if !f.IsExported() {
			return "", false
		}
		code, ok := c.code(v.Field(i), false)
		if !ok {
			return "", false
		}
		parts = append(parts, f.Name+": "+code)
	}
	return c.name(v.Type()) + "{" + strings.Join(parts, ", ") + "}", true
}

func (c *coder) mapping(v reflect.Value) (string, bool) {
	if v.IsNil() {
		return "nil", true
	}
	var parts []string
	for _, key := range v.MapKeys() {
		k, ok := c.code(key, false)
		e, also := c.code(v.MapIndex(key), false)
		if !ok || !also {
			return "", false
		}
		parts = append(parts, k+": "+e)
	}
	slices.Sort(parts)
	return c.name(v.Type()) + "{" + strings.Join(parts, ", ") + "}", true
}

// name returns the name of a type as the package writes it.
func (c *coder) name(t reflect.Type) string {
	if t.Name() != "" {
		if t.PkgPath() == "" || t.PkgPath() == c.pkg {
			return t.Name()
		}
		return t.String()
	}
	switch t.Kind() {
	case reflect.Pointer:
		return "*" + c.name(t.Elem())
	case reflect.Slice:
		return "[]" + c.name(t.Elem())
	case reflect.Array:
		return "[" + strconv.Itoa(t.Len()) + "]" + c.name(t.Elem())
	case reflect.Map:
		return "map[" + c.name(t.Key()) + "]" + c.name(t.Elem())
	default:
		return t.String()
	}
}

// quoteGo returns a string as Go code: in backquotes if that is easier to read.
func quoteGo(s string) string {
	if strings.ContainsAny(s, `"\`) && strconv.CanBackquote(s) {
		return "`" + s + "`"
	}
	return strconv.Quote(s)
}
